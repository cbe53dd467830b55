/* SPDX-License-Identifier: MIT
 *
 * Inside mm/frame: where descriptors lie. One array with an entry for each frame of the table of RAM, in its order;
 * a bit for each 256 of them (a frame of descriptors) says whether these were ever used. What was not is taken to be
 * zero and never looked at.
 */
#ifndef MM_FRAME_DESCRIBE_H
#define MM_FRAME_DESCRIBE_H

#include <mm/frame_info.h>

#include "zone.h"

/* Bytes of metadata beside the descriptors themselves. */
uint64_t describe_own_bytes(uint64_t frames, uint64_t ranges);

/* Starts anew. own: so many bytes, zeroed; info: any contents. After the table of RAM was made. Boot only. */
void describe_start(void *own, struct frame_info *info, uint64_t frames);

#endif
