/* SPDX-License-Identifier: MIT */
#include <mm/types.h>

const char *status_name(status_t status)
{
    switch (status) {
    case OK:
        return "ok";
    case ERR_INVALID:
        return "invalid argument";
    case ERR_NO_MEMORY:
        return "out of memory";
    case ERR_FULL:
        return "table full";
    case ERR_CORRUPT:
        return "corrupt data";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_BUSY:
        return "busy";
    case ERR_UNSUPPORTED:
        return "unsupported";
    case ERR_EXISTS:
        return "already exists";
    }
    return "unknown status";
}
