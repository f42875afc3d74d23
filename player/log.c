/* SPDX-License-Identifier: BSD-2-Clause */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void sp_log(struct sp_log *log, enum sp_log_level level, const char *format, ...)
{
    char text[2048], line[4 * sizeof(text)];
    va_list args;
    size_t n = 0;

    if (log == NULL || level > log->level) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (const char *c = text; *c != '\0' && n + 5 < sizeof(line); c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte < 0x20 || byte == 0x7f) {
            n += (size_t)snprintf(line + n, sizeof(line) - n, "\\x%02X", byte);
        } else {
            line[n++] = *c;
        }
    }
    line[n] = '\0';
    /* One call per line: stdio locks the stream, so lines of different threads never mix. */
    fprintf(stderr, "%s: %s: %s\n", log->program != NULL ? log->program : "srp",
            level_names[level], line);
}
