/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/fault.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#define CPU_SECONDS_MAX 60

static sigjmp_buf *innermost;

static void on_signal(int sig)
{
	if (!innermost) {
		signal(sig, SIG_DFL);
		raise(sig);
		return;
	}
	siglongjmp(*innermost, sig);
}

void fault_init(void)
{
	static const int caught[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGVTALRM};
	const struct sigaction sa = {.sa_handler = on_signal};

	for (unsigned i = 0; i < ARRAY_LEN(caught); i++)
		sigaction(caught[i], &sa, NULL);
}

static void watch(time_t seconds)
{
	const struct itimerval limit = {.it_value = {.tv_sec = seconds}};

	setitimer(ITIMER_VIRTUAL, &limit, NULL);
}

bool fault_guard(void (*fn)(void *arg), void *arg)
{
	sigjmp_buf here, *volatile outer = innermost;
	int sig = sigsetjmp(here, 1);

	if (sig == 0) {
		innermost = &here;
		watch(CPU_SECONDS_MAX);
		fn(arg);
	} else if (sig == SIGVTALRM) {
		fprintf(stderr, "busy for %d s of CPU time\n", CPU_SECONDS_MAX);
	} else if (sig != SIGABRT) {
		fprintf(stderr, "signal %d\n", sig);
	}
	innermost = outer;
	watch(0);
	return sig == 0;
}
