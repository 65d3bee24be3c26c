/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* list - intrusive circular doubly linked list. A head is a struct list pointing at itself; an
 * element that is on no list points at itself after list_init() or list_del(). One thread. */

#ifndef LIB_LIST_H
#define LIB_LIST_H

#include "lib/base.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_tail(struct list *head, struct list *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

static inline void list_add_head(struct list *head, struct list *item)
{
	list_add_tail(head->next, item);
}

static inline void list_del(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

/* The first element or NULL. */
static inline struct list *list_first(const struct list *head)
{
	return list_empty(head) ? (struct list *)0 : head->next;
}

/* Detach and return the first element, or NULL. */
static inline struct list *list_pop(struct list *head)
{
	struct list *item = list_first(head);

	if (item)
		list_del(item);
	return item;
}

#define LIST_FOR_EACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
/* Survives list_del(it) in the body. */
#define LIST_FOR_EACH_SAFE(it, head)                                                               \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                  \
	     it = it##_next, it##_next = it->next)

#endif
