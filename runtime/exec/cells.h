/* SPDX-License-Identifier: BSD-2-Clause */
/* cells.h - the grid of cells that a routing lays over a picture: which of them have changed, and
 * which rectangles a path's cells make. */
#ifndef SRPI_CELLS_H
#define SRPI_CELLS_H

#include <stdbool.h>

#include <srp/upscaler.h>

struct srpi_cells {
    uint32_t cell_width, cell_height; /* input pixels */
    uint32_t columns, rows;
    uint32_t width, height; /* of the picture */
};

/* Errors: USAGE (a cell size that is odd or out of range), LIMIT (more than SRP_MAX_REGIONS). */
enum srp_err srpi_cells_init(struct srpi_cells *cells, const struct srp_picture *picture,
                             uint32_t cell_width, uint32_t cell_height, struct srp_error *err);

/* The picture's pixels of a cell. */
struct srp_region srpi_cell_region(const struct srpi_cells *cells, uint32_t column, uint32_t row);

/* Covers the cells whose value is `value` with disjoint rectangles of whole cells: runs within a
 * row of cells, joined with equal runs below. Writes at most one region for each cell; returns
 * their number. The largest come first. */
uint32_t srpi_cells_merge(const struct srpi_cells *cells, const uint8_t *values, uint8_t value,
                          struct srp_region *regions);

/* Whether two pictures of the same size and format are equal on a region and `radius` pixels around
 * it. */
bool srpi_pictures_equal(const struct srp_picture *a, const struct srp_picture *b,
                         const struct srp_region *region, uint32_t radius);
/* Copies a region: even begin, even end or the picture's. */
void srpi_picture_copy(const struct srp_picture *from, const struct srp_picture *to,
                       const struct srp_region *region);

#endif
