/* SPDX-License-Identifier: MIT */
#ifndef WORKLOADS_H
#define WORKLOADS_H

/* What each does is said where it is defined. */
void work_repeat(void);
void work_repeat_half(void);
void work_repeat_order_3(void);
void work_repeat_order_9(void);
void work_bulk(void);
void work_bulk_order_9(void);

void work_random(void);
void work_random_batch(void);
void work_random_near_full(void);
void work_cross_free(void);

void work_mix(void);
void work_fragment(void);

void work_latency(void);
void work_latency_burst(void);
void work_latency_full(void);
void work_latency_small(void);
void work_latency_huge(void);
void work_worst(void);
void work_failure(void);

void work_verify(void);
void work_metadata(void);

#endif
