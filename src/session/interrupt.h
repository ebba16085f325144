/*-------------------------------------------------------------------------
 *
 * interrupt.h
 *	  Has a session do something where PostgreSQL handles interrupts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_INTERRUPT_H
#define PGSM_SESSION_INTERRUPT_H

/*
 * Makes the two functions below possible in this process.  Takes 8 kB when it
 * is first called; may raise out-of-memory, and what a parallel query's
 * worker has raised meanwhile.  Ordinary code only, no callback.
 */
extern void session_interrupt_prepare(void);

/*
 * Has the handler, instead of one that was awaited, called once, when an
 * interrupt is handled: the one that session_interrupt_raise asks for, or a
 * parallel worker's before that.  It runs with interrupts held, and must not
 * raise an error, nor call this function.  Callbacks too; no error.
 */
extern void session_interrupt_await(void (*handler) (void));

/*
 * Asks for an interrupt, in an idle session at once: in any state of its
 * transaction, with no effect on it.  Signal handlers too.
 */
extern void session_interrupt_raise(void);

#endif							/* PGSM_SESSION_INTERRUPT_H */
