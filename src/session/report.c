/*-------------------------------------------------------------------------
 *
 * report.c
 *	  Publishes a measurement, judges thresholds, writes log and events.
 *
 * Something that is over its threshold is written to the log once when it
 * crosses, again each time its amount has doubled, and anew after it has
 * fallen below.  The slot remembers since when, and what was written last.
 * Of contexts, those names are told of that hold the most; one that has been
 * told of is followed further while others hold more.
 *
 * Runs in callbacks: static memory, fixed sizes, no error.  A LOG message is
 * put together in ErrorContext, which is there for such moments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/event_ring.h"
#include "session/identity.h"
#include "session/report.h"

/* Groups over their threshold: as many as the slot has are told of. */
static SlotGroup over_groups[LARGEST_GROUPS];

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
session_report_remedy(const char *kind, ContextCategory category,
					  int64 bytes, int64 retained_bytes)
{
	if (strcmp(kind, "process") == 0 && bytes > 2 * retained_bytes)
		return "Most of it is outside of all memory contexts: pg_session_memory_trim() gives back what malloc keeps free, reconnecting gives back everything.";
	return context_category_remedy(category);
}

/* The three largest groups, as words. */
static void
largest_groups(const SessionMeasure *measure, char *text, Size size)
{
	int			length = 0;

	text[0] = '\0';
	for (int i = 0; i < 3 && measure->largest[i].name != NULL; i++)
	{
		char		bytes[PRETTY_BYTES];

		length += snprintf(text + length, size - length,
						   "%s\"%.*s\" with %s in " INT64_FORMAT,
						   i == 0 ? "" : ", ", SLOT_NAME_BYTES - 1,
						   measure->largest[i].name,
						   pretty_bytes(measure->largest[i].bytes, bytes),
						   measure->largest[i].contexts);
	}
}

/*
 * The log line: what is over, by how much, where it is, and what to do.
 */
static void
log_excess(const char *kind, const char *context, ContextCategory category,
		   const SlotExcess *excess, const SessionMeasure *measure,
		   int64 growth_bytes)
{
	static char query[EVENT_QUERY_BYTES];
	static char largest[3 * (SLOT_NAME_BYTES + 64)];
	char		amount[PRETTY_BYTES];
	char		limit[PRETTY_BYTES];
	char		total[PRETTY_BYTES];
	char		growth[PRETTY_BYTES];
	char		id[48] = "";

	pretty_bytes(excess->bytes, amount);
	pretty_bytes(excess->threshold_bytes, limit);
	pretty_bytes(measure->bytes, total);
	pretty_bytes(Max(growth_bytes, 0), growth);
	largest_groups(measure, largest, sizeof(largest));
	session_query_text(query, sizeof(query));
	if (session_query_id() != 0)
		snprintf(id, sizeof(id), " (query id " INT64_FORMAT ")",
				 session_query_id());

	ereport(setting_log_level,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 context != NULL ?
			 errmsg(REPORT_FIRST_WORDS ": contexts \"%s\" hold %s, pg_session_memory.context_threshold is %s",
					context, amount, limit) :
			 errmsg(REPORT_FIRST_WORDS ": the %s holds %s, pg_session_memory.%s_threshold is %s",
					kind, amount, kind, limit),
			 errdetail("The session retains %s in " INT64_FORMAT " contexts, %s more than after its first command. Largest: %s contexts. Seen after statement%s: %s",
					   total, measure->contexts, growth, largest, id, query),
			 errhint("%s", session_report_remedy(kind, category,
												 excess->bytes,
												 measure->bytes))));
}

/*
 * Whether an excess is to be written to the log: at the crossing, and each
 * time that the amount has doubled since it was last written.
 */
static bool
judge(SlotExcess *excess, int64 bytes, int64 threshold, TimestampTz now)
{
	if (excess->since == 0)
	{
		excess->since = now;
		excess->logged_bytes = 0;
	}
	excess->bytes = bytes;
	excess->threshold_bytes = threshold;
	if (excess->logged_bytes > 0 && bytes / 2 < excess->logged_bytes)
		return false;
	excess->logged_bytes = Max(bytes, 1);
	return true;
}

/*
 * The bytes of the group of this name, -1 if it is not among the largest.
 */
static int64
group_bytes(const SessionMeasure *measure, const char *name)
{
	for (int i = 0; i < LARGEST_GROUPS; i++)
	{
		if (measure->largest[i].name != NULL &&
			strncmp(measure->largest[i].name, name,
					SLOT_NAME_BYTES - 1) == 0)
			return measure->largest[i].bytes;
	}
	return -1;
}

void
session_report(const SessionMeasure *measure, TimestampTz now)
{
	SlotData   *slot = session_slot_mine();
	static SlotGroup old_groups[LARGEST_GROUPS];
	bool		log_session = false;
	bool		log_process = false;
	bool		log_group[SLOT_GROUPS] = {false};
	SlotExcess	old_session = slot->session;
	SlotExcess	old_process = slot->process;
	int64		threshold;
	bool		bloated = false;

	memcpy(old_groups, over_groups, sizeof(old_groups));

	session_slot_begin();
	slot->contexts = measure->contexts;
	slot->retained_bytes = measure->bytes;
	memcpy(slot->category_bytes, measure->category_bytes,
		   sizeof(slot->category_bytes));
	if (slot->measured_at == 0)
		slot->baseline_bytes = measure->bytes;
	slot->measured_at = now;
	if (measure->bytes > slot->peak_bytes)
	{
		slot->peak_bytes = measure->bytes;
		slot->peak_at = now;
	}

	threshold = threshold_bytes(setting_session_threshold);
	if (threshold >= 0 && measure->bytes > threshold)
	{
		log_session = judge(&slot->session, measure->bytes, threshold, now);
		bloated = true;
	}
	else
		memset(&slot->session, 0, sizeof(SlotExcess));

	threshold = threshold_bytes(setting_process_threshold);
	if (threshold >= 0 && measure->process_bytes > threshold)
	{
		log_process = judge(&slot->process, measure->process_bytes,
							threshold, now);
		bloated = true;
	}
	else
		memset(&slot->process, 0, sizeof(SlotExcess));

	threshold = threshold_bytes(setting_context_threshold);
	memset(over_groups, 0, sizeof(over_groups));
	for (int i = 0; i < LARGEST_GROUPS; i++)
	{
		const ContextGroup *group = &measure->largest[i];
		SlotGroup  *over = &over_groups[i];

		if (threshold < 0 || group->name == NULL || group->bytes <= threshold)
			break;
		strlcpy(over->name, group->name, SLOT_NAME_BYTES);
		over->category = group->category;
		for (int j = 0; j < LARGEST_GROUPS; j++)
		{
			if (old_groups[j].excess.since != 0 &&
				strcmp(old_groups[j].name, over->name) == 0)
			{
				over->excess = old_groups[j].excess;
				old_groups[j].excess.since = 0;
			}
		}
		bloated = true;
		if (i < SLOT_GROUPS)
			log_group[i] = judge(&over->excess, group->bytes, threshold, now);
	}
	memcpy(slot->groups, over_groups, sizeof(slot->groups));
	slot->status = bloated ? SESSION_BLOATED : SESSION_OK;
	session_slot_end();

	/* From here on the slot is only read. */
	for (int i = 0; i < SLOT_GROUPS; i++)
	{
		if (!log_group[i])
			continue;
		event_ring_add(EVENT_CONTEXT, slot->groups[i].name,
					   slot->groups[i].excess.bytes,
					   slot->groups[i].excess.threshold_bytes,
					   measure->bytes);
		log_excess("context", slot->groups[i].name,
				   slot->groups[i].category, &slot->groups[i].excess,
				   measure, measure->bytes - slot->baseline_bytes);
	}
	if (log_session)
	{
		event_ring_add(EVENT_SESSION, NULL, slot->session.bytes,
					   slot->session.threshold_bytes, measure->bytes);
		log_excess("session", NULL, measure->largest[0].category,
				   &slot->session, measure,
				   measure->bytes - slot->baseline_bytes);
	}
	if (log_process)
	{
		event_ring_add(EVENT_PROCESS, NULL, slot->process.bytes,
					   slot->process.threshold_bytes, measure->bytes);
		log_excess("process", NULL, measure->largest[0].category,
				   &slot->process, measure,
				   measure->bytes - slot->baseline_bytes);
	}

	/* What was over before and is not any more. */
	for (int i = 0; i < LARGEST_GROUPS; i++)
	{
		if (old_groups[i].excess.since != 0)
			event_ring_add(EVENT_FELL, old_groups[i].name,
						   group_bytes(measure, old_groups[i].name),
						   old_groups[i].excess.threshold_bytes,
						   measure->bytes);
	}
	if (old_session.since != 0 && slot->session.since == 0)
		event_ring_add(EVENT_FELL, NULL, measure->bytes,
					   old_session.threshold_bytes, measure->bytes);
	if (old_process.since != 0 && slot->process.since == 0)
		event_ring_add(EVENT_FELL, NULL, measure->process_bytes,
					   old_process.threshold_bytes, measure->bytes);
}
