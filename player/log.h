/* SPDX-License-Identifier: BSD-2-Clause */
/* log.h - the programs' log: one line per event on stderr, remote text escaped. Thread-safe. */
#ifndef SP_LOG_H
#define SP_LOG_H

enum sp_log_level { SP_LOG_ERROR = 0, SP_LOG_WARN, SP_LOG_INFO, SP_LOG_DEBUG };

struct sp_log {
    const char *program;      /* prefix of each line, "srplay" */
    enum sp_log_level level;  /* lines above it are dropped */
};

/* "program: level: message"; control bytes of the message are printed as \xNN. NULL: nothing. */
void sp_log(struct sp_log *log, enum sp_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
