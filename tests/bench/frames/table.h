/* SPDX-License-Identifier: MIT
 *
 * The allocators that this program can measure. Others join by one definition on the compiler's command line,
 * -D'FA_PEERS(X)=X(mine) X(theirs)', and their objects (docs/bench.md).
 */
#ifndef TABLE_H
#define TABLE_H

#ifndef FA_PEERS
#define FA_PEERS(X)
#endif

#define FA_TABLE(X) X(null) X(pcpstack) X(aoff) X(fullest) X(quire) FA_PEERS(X)

#endif
