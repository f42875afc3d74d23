/* SPDX-License-Identifier: BSD-2-Clause */
/* models.h - finds and loads general models, which come with the program and not from the
 * network. */
#ifndef SP_MODELS_H
#define SP_MODELS_H

#include <srp/model.h>

#include "base.h"

/* name: "edge16-x2" is NAME.json and general/NAME.safetensors, else NAME.safetensors, in the first
 * of `models_dir` (may be NULL), $SRP_MODELS_DIR, the installed directory and models/ that has the
 * graph; a name that ends in ".json" is a path with the .safetensors beside it. Errors: NOT_FOUND,
 * and those of srp_model_create. */
enum srp_err sp_models_load(struct srp_model **out, const char *models_dir, const char *name,
                            struct srp_error *err);

#endif
