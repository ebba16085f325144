/*-------------------------------------------------------------------------
 *
 * judge.c
 *	  What of a measurement is over its threshold, in bytes and in words.
 *
 * The one place that judges.  The end of a command, is_bloated(), check() and
 * recycle() take the same list from here, with the same words and remedies.
 * A judgement knows nothing of the one before it: whether something is new is
 * found out when it is published.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/judge.h"
#include "session/slot.h"
#include "settings.h"

const char *
pretty_bytes(int64 bytes, char *text)
{
	if (bytes >= INT64CONST(10) * 1024 * 1024 * 1024)
		snprintf(text, PRETTY_BYTES, INT64_FORMAT " GB", bytes >> 30);
	else if (bytes >= INT64CONST(10) * 1024 * 1024)
		snprintf(text, PRETTY_BYTES, INT64_FORMAT " MB", bytes >> 20);
	else if (bytes >= 10 * 1024)
		snprintf(text, PRETTY_BYTES, INT64_FORMAT " kB", bytes >> 10);
	else
		snprintf(text, PRETTY_BYTES, INT64_FORMAT " bytes", bytes);
	return text;
}

const char *
excess_kind_name(ExcessKind kind)
{
	switch (kind)
	{
		case EXCESS_CONTEXT:
			return "context";
		case EXCESS_SESSION:
			return "session";
		case EXCESS_PROCESS:
			return "process";
	}
	return "???";
}

/* The cause of what all contexts hold: that of the largest category. */
static MemoryCause
cause_of_session(const SessionMeasure *measure)
{
	ContextCategory largest = CATEGORY_OTHER;

	for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
	{
		if (measure->category_bytes[i] > measure->category_bytes[largest])
			largest = (ContextCategory) i;
	}
	return memory_cause(largest, measure->category_bytes[largest],
						measure->cache_free_bytes, measure->of_functions);
}

/*
 * The cause of what the process holds: that of its contexts, unless they are
 * the smaller half.
 */
static MemoryCause
cause_of_process(const SessionMeasure *measure)
{
	int64		outside = measure->process_bytes - measure->bytes;

	if (outside <= measure->process_bytes / 2)
		return cause_of_session(measure);
	if (measure->malloc_free_bytes < 0)
		return CAUSE_OUTSIDE_OR_FREE;
	return measure->malloc_free_bytes > outside / 2 ?
		CAUSE_MALLOC_FREE : CAUSE_OUTSIDE_CONTEXTS;
}

static void
add_excess(Judgement *judgement, ExcessKind kind, const char *context,
		   MemoryCause cause, int64 bytes, int64 threshold)
{
	MeasureExcess *excess = &judgement->excesses[judgement->count++];

	excess->kind = kind;
	excess->context = context;
	excess->cause = cause;
	excess->bytes = bytes;
	excess->threshold_bytes = threshold;
}

void
session_judge(const SessionMeasure *measure, Judgement *judgement)
{
	int64		threshold = threshold_bytes(setting_context_threshold);

	judgement->count = 0;
	for (int i = 0; i < LARGEST_GROUPS && threshold >= 0; i++)
	{
		const ContextGroup *group = &measure->largest[i];

		if (group->name == NULL || group->bytes <= threshold)
			break;
		add_excess(judgement, EXCESS_CONTEXT, group->name,
				   memory_cause(group->category, group->bytes,
								group->free_bytes, measure->of_functions),
				   group->bytes, threshold);
	}

	threshold = threshold_bytes(setting_session_threshold);
	if (threshold >= 0 && measure->bytes > threshold)
		add_excess(judgement, EXCESS_SESSION, NULL, cause_of_session(measure),
				   measure->bytes, threshold);

	threshold = threshold_bytes(setting_process_threshold);
	if (threshold >= 0 && measure->process_bytes > threshold)
		add_excess(judgement, EXCESS_PROCESS, NULL, cause_of_process(measure),
				   measure->process_bytes, threshold);
}

/* Whether words are made of it: a slot tells of as many groups. */
static bool
is_worth_words(const Judgement *judgement, int i)
{
	return judgement->excesses[i].kind != EXCESS_CONTEXT || i < SLOT_GROUPS;
}

const char *
judgement_words(const Judgement *judgement, char *text)
{
	int			length = 0;

	text[0] = '\0';
	for (int i = 0; i < judgement->count; i++)
	{
		const MeasureExcess *excess = &judgement->excesses[i];
		const char *separator = length > 0 ? "; " : "";
		Size		left = JUDGEMENT_WORDS_BYTES - length;
		char		amount[PRETTY_BYTES];
		char		limit[PRETTY_BYTES];

		if (!is_worth_words(judgement, i))
			continue;
		pretty_bytes(excess->bytes, amount);
		pretty_bytes(excess->threshold_bytes, limit);
		if (excess->kind == EXCESS_CONTEXT)
			length += snprintf(text + length, left,
							   "%scontexts \"%.*s\" hold %s, pg_session_memory.context_threshold is %s",
							   separator, SLOT_NAME_BYTES - 1,
							   excess->context, amount, limit);
		else
			length += snprintf(text + length, left,
							   "%sthe %s holds %s, pg_session_memory.%s_threshold is %s",
							   separator, excess_kind_name(excess->kind),
							   amount, excess_kind_name(excess->kind), limit);
	}
	Assert(length < JUDGEMENT_WORDS_BYTES);
	return text;
}

const char *
judgement_remedy(const Judgement *judgement, int pid, bool in_transaction,
				 char *text)
{
	text[0] = '\0';
	for (int i = 0; i < judgement->count; i++)
	{
		char		remedy[REMEDY_BYTES];
		bool		is_told = false;

		for (int j = 0; j < i; j++)
		{
			if (is_worth_words(judgement, j) &&
				judgement->excesses[j].cause == judgement->excesses[i].cause)
				is_told = true;
		}
		if (is_told || !is_worth_words(judgement, i))
			continue;
		if (text[0] != '\0')
			strlcat(text, " ", JUDGEMENT_REMEDY_BYTES);
		strlcat(text,
				remedy_text(judgement->excesses[i].cause, pid, in_transaction,
							remedy),
				JUDGEMENT_REMEDY_BYTES);
	}
	return text;
}

const char *
largest_groups_words(const SessionMeasure *measure, char *text)
{
	int			length = 0;

	text[0] = '\0';
	for (int i = 0; i < 3 && measure->largest[i].name != NULL; i++)
	{
		char		bytes[PRETTY_BYTES];

		length += snprintf(text + length, LARGEST_WORDS_BYTES - length,
						   "%s\"%.*s\" with %s in " INT64_FORMAT,
						   i == 0 ? "" : ", ", SLOT_NAME_BYTES - 1,
						   measure->largest[i].name,
						   pretty_bytes(measure->largest[i].bytes, bytes),
						   measure->largest[i].contexts);
	}
	return text;
}
