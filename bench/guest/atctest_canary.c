// SPDX-License-Identifier: GPL-2.0
/*
 * Seeded faults, one of each kind that a sanitizer kernel has to see. A kernel
 * that says nothing about them says nothing about the driver either. They run
 * when atctest.ko is loaded with canary=NAME[:NAME...].
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

/* Volatile keeps the compiler from seeing through the fault */
static volatile int canary_shift = 40;
static int canary_shared;
static void *volatile canary_pointer;

/* KASAN: reads an object after its kfree() */
static void use_after_free(void)
{
	volatile char *p;

	canary_pointer = kzalloc(64, GFP_KERNEL);
	p = canary_pointer;
	kfree((void *)p);
	canary_pointer = NULL;
	if (p)
		(void)p[8];
}

/* UBSAN: shifts an int by more than its width */
static void shift(void)
{
	canary_shift = 1 << canary_shift;
}

/* lockdep: takes two mutexes in either order */
static void deadlock(void)
{
	static DEFINE_MUTEX(first);
	static DEFINE_MUTEX(second);

	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

/* DEBUG_ATOMIC_SLEEP: might sleep with a spinlock held */
static void sleep_atomic(void)
{
	static DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	might_sleep();
	spin_unlock(&lock);
}

/* PROVE_RCU: dereferences outside of a read-side critical section */
static void rcu(void)
{
	static int __rcu *pointer;

	canary_shared = !!rcu_dereference(pointer);
}

/*
 * kmemleak: forgets allocations. Many, for the allocator's per-CPU arrays keep
 * what they handed out last, and with that a reference to it.
 */
static void leak(void)
{
	for (int i = 0; i < 4096; i++)
		canary_pointer = kmalloc(128, GFP_KERNEL);
	canary_pointer = NULL;
}

static noinline int racer(void *done)
{
	unsigned long end = jiffies + 2 * HZ;

	while (time_before(jiffies, end)) {
		canary_shared++;
		barrier();
	}
	complete(done);
	return 0;
}

/* KCSAN: two threads write one variable */
static void race(void)
{
	DECLARE_COMPLETION_ONSTACK(done);
	struct task_struct *other = kthread_run(racer, &done, "canary");
	DECLARE_COMPLETION_ONSTACK(mine);

	if (IS_ERR(other))
		return;
	racer(&mine);
	wait_for_completion(&done);
}

static const struct {
	const char *name;
	void (*run)(void);
} canaries[] = {
	{ "use-after-free", use_after_free },
	{ "shift", shift },
	{ "deadlock", deadlock },
	{ "sleep-atomic", sleep_atomic },
	{ "rcu", rcu },
	{ "leak", leak },
	{ "race", race },
};

static int canary_set(const char *value, const struct kernel_param *kp)
{
	size_t len;

	for (; *value; value += len + (value[len] == ':')) {
		bool known = false;

		len = strcspn(value, ":\n");
		for (int i = 0; i < ARRAY_SIZE(canaries); i++)
			if (strlen(canaries[i].name) == len &&
			    !strncmp(value, canaries[i].name, len)) {
				canaries[i].run();
				known = true;
			}
		if (!known)
			return -EINVAL;
		if (value[len] == '\n')
			break;
	}
	return 0;
}

static const struct kernel_param_ops canary_ops = { .set = canary_set };

module_param_cb(canary, &canary_ops, NULL, 0200);
MODULE_PARM_DESC(canary, "provoke faults: use-after-free:shift:deadlock:sleep-atomic:rcu:leak:race");
