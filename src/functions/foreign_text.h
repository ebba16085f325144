/*-------------------------------------------------------------------------
 *
 * foreign_text.h
 *	  Text that comes from another session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_FOREIGN_TEXT_H
#define PGSM_FOREIGN_TEXT_H

/*
 * A text of length bytes out of another session, whose database may have
 * another encoding, or whose memory may have changed while it was read: what
 * is not valid in this database becomes question marks.  Allocated in the
 * current memory context.
 */
extern struct varlena *text_of_foreign(const char *string, int length);

#endif							/* PGSM_FOREIGN_TEXT_H */
