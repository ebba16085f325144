/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What becomes of a measurement: it is judged, published and told.
 *
 * A measurement's way has four stops and no way back:
 *
 *	measured	what the session retains, in bytes (measure.c)
 *	judged		a list of what is over, with threshold, cause and words
 *				(judge.c, remedy.c)
 *	published	the slot has figures and list; what is new comes of comparing
 *				the list with the one before it (here)
 *	told		one log line, an event for each that is new or has fallen
 *				(tell.c); and the status parameter (watch.c)
 *
 * Something that is over its threshold is new when it crosses, again each
 * time its amount has doubled, and anew after it has fallen below.  The slot
 * remembers since when it is over, and what was told last.  Of contexts,
 * those names are told of that hold the most; one that has been told of is
 * followed further while others hold more.
 *
 * Runs in callbacks: static memory, fixed sizes, no error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/judge.h"
#include "session/report.h"
#include "session/tell.h"

/* Groups over their threshold: as many as the slot has are told of. */
static SlotGroup over_groups[LARGEST_GROUPS];

/*
 * Goes on from what the slot had of this excess, nothing if its since is 0.
 * Returns whether it is new: at the crossing, and each time that the amount
 * has doubled since it was last told.
 */
static bool
publish_excess(SlotExcess *slot, const MeasureExcess *excess, TimestampTz now)
{
	if (slot->since == 0)
	{
		slot->since = now;
		slot->logged_bytes = 0;
	}
	slot->bytes = excess->bytes;
	slot->threshold_bytes = excess->threshold_bytes;
	slot->cause = excess->cause;
	if (slot->logged_bytes > 0 && excess->bytes / 2 < slot->logged_bytes)
		return false;
	slot->logged_bytes = Max(excess->bytes, 1);
	return true;
}

/*
 * The same for a group, which goes on from the old one of its name.  Only as
 * many as the slot has are new.
 */
static bool
publish_group(int place, SlotGroup *old_groups, const MeasureExcess *excess,
			  TimestampTz now)
{
	SlotGroup  *over = &over_groups[place];

	strlcpy(over->name, excess->context, SLOT_NAME_BYTES);
	for (int i = 0; i < LARGEST_GROUPS; i++)
	{
		if (old_groups[i].excess.since != 0 &&
			strcmp(old_groups[i].name, over->name) == 0)
		{
			over->excess = old_groups[i].excess;
			old_groups[i].excess.since = 0;
		}
	}
	return place < SLOT_GROUPS && publish_excess(&over->excess, excess, now);
}

static void
add_fallen(SessionNews *news, const SlotExcess *old, const char *context,
		   int64 bytes)
{
	FallenExcess *fallen = &news->fallen[news->fallen_count++];

	fallen->context = context;
	fallen->bytes = bytes;
	fallen->threshold_bytes = old->threshold_bytes;
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

/*
 * Writes measurement and judgement to the slot, and finds out what is new.
 */
static void
publish(const SessionMeasure *measure, const Judgement *judgement,
		TimestampTz now, SlotData *slot, SessionNews *news)
{
	static SlotGroup old_groups[LARGEST_GROUPS];
	SlotExcess	old_session = slot->session;
	SlotExcess	old_process = slot->process;
	bool		session_is_over = false;
	bool		process_is_over = false;

	memcpy(old_groups, over_groups, sizeof(old_groups));
	memset(over_groups, 0, sizeof(over_groups));
	memset(news, 0, sizeof(SessionNews));

	session_slot_begin();
	slot->contexts = measure->contexts;
	slot->retained_bytes = measure->bytes;
	memcpy(slot->category_bytes, measure->category_bytes,
		   sizeof(slot->category_bytes));
	if (slot->baseline_bytes == 0)
		slot->baseline_bytes = measure->bytes;
	slot->measured_at = now;
	slot->process_threshold_bytes = threshold_bytes(setting_process_threshold);
	if (measure->bytes > slot->peak_bytes)
	{
		slot->peak_bytes = measure->bytes;
		slot->peak_at = now;
	}
	for (int i = 0; i < judgement->count; i++)
	{
		const MeasureExcess *excess = &judgement->excesses[i];

		switch (excess->kind)
		{
			case EXCESS_CONTEXT:
				news->is_new[i] = publish_group(i, old_groups, excess, now);
				break;
			case EXCESS_SESSION:
				session_is_over = true;
				news->is_new[i] = publish_excess(&slot->session, excess, now);
				break;
			case EXCESS_PROCESS:
				process_is_over = true;
				news->is_new[i] = publish_excess(&slot->process, excess, now);
				break;
		}
		if (news->is_new[i])
			news->count++;
	}
	if (!session_is_over)
		memset(&slot->session, 0, sizeof(SlotExcess));
	if (!process_is_over)
		memset(&slot->process, 0, sizeof(SlotExcess));
	memcpy(slot->groups, over_groups, sizeof(slot->groups));
	slot->status = judgement->count > 0 ? SESSION_BLOATED : SESSION_OK;
	session_slot_end();

	for (int i = 0; i < LARGEST_GROUPS; i++)
	{
		if (old_groups[i].excess.since != 0)
			add_fallen(news, &old_groups[i].excess, old_groups[i].name,
					   group_bytes(measure, old_groups[i].name));
	}
	if (old_session.since != 0 && !session_is_over)
		add_fallen(news, &old_session, NULL, measure->bytes);
	if (old_process.since != 0 && !process_is_over)
		add_fallen(news, &old_process, NULL, measure->process_bytes);
}

void
session_report(const SessionMeasure *measure, TimestampTz now)
{
	/* Too large for the stack of a callback. */
	static Judgement judgement;
	static SessionNews news;
	SlotData   *slot = session_slot_mine();

	session_judge(measure, &judgement);
	publish(measure, &judgement, now, slot, &news);
	session_tell(measure, &judgement, &news,
				 measure->bytes - slot->baseline_bytes);
}

void
session_report_baseline(void)
{
	static SessionMeasure measure;
	SlotData   *slot = session_slot_mine();

	session_measure(&measure, true, false);
	session_slot_begin();
	slot->baseline_bytes = measure.bytes;
	session_slot_end();
}
