/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/cells.h"

#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "model/error.h"

enum srp_err srpi_cells_init(struct srpi_cells *cells, const struct srp_picture *picture,
                             uint32_t cell_width, uint32_t cell_height, struct srp_error *err)
{
    if (cell_width < SRP_MIN_CELL || cell_width > SRP_MAX_CELL || cell_height < SRP_MIN_CELL ||
        cell_height > SRP_MAX_CELL || cell_width % 2 != 0 || cell_height % 2 != 0) {
        return srpi_fail(err, SRP_ERR_USAGE, "cells of %ux%u: sides are even, %u to %u", cell_width,
                         cell_height, SRP_MIN_CELL, SRP_MAX_CELL);
    }
    *cells = (struct srpi_cells){.cell_width = cell_width,
                                 .cell_height = cell_height,
                                 .columns = (picture->width + cell_width - 1) / cell_width,
                                 .rows = (picture->height + cell_height - 1) / cell_height,
                                 .width = picture->width,
                                 .height = picture->height};
    if ((uint64_t)cells->columns * cells->rows > SRP_MAX_REGIONS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%ux%u cells are more than %u", cells->columns,
                         cells->rows, SRP_MAX_REGIONS);
    }
    return SRP_OK;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Cells column..column + across of `down` rows from `row` on. */
static struct srp_region block_of(const struct srpi_cells *cells, uint32_t column, uint32_t row,
                                  uint32_t across, uint32_t down)
{
    struct srp_region region = {.x = column * cells->cell_width, .y = row * cells->cell_height};
    region.width = least(across * cells->cell_width, cells->width - region.x);
    region.height = least(down * cells->cell_height, cells->height - region.y);
    return region;
}

struct srp_region srpi_cell_region(const struct srpi_cells *cells, uint32_t column, uint32_t row)
{
    return block_of(cells, column, row, 1, 1);
}

/* Whether a run of `value` in this row goes exactly from `begin` to `end`. */
static bool is_run(const struct srpi_cells *cells, const uint8_t *row, uint8_t value,
                   uint32_t begin, uint32_t end)
{
    for (uint32_t x = begin; x < end; x++) {
        if (row[x] != value) {
            return false;
        }
    }
    return (begin == 0 || row[begin - 1] != value) &&
           (end == cells->columns || row[end] != value);
}

static int by_area(const void *a, const void *b)
{
    const struct srp_region *first = a, *second = b;
    const uint64_t one = (uint64_t)first->width * first->height;
    const uint64_t other = (uint64_t)second->width * second->height;
    if (one != other) {
        return one > other ? -1 : 1;
    }
    if (first->y != second->y) { /* so that the order is one and the same everywhere */
        return first->y < second->y ? -1 : 1;
    }
    return first->x < second->x ? -1 : 1;
}

uint32_t srpi_cells_merge(const struct srpi_cells *cells, const uint8_t *values, uint8_t value,
                          struct srp_region *regions)
{
    uint32_t count = 0;
    for (uint32_t y = 0; y < cells->rows; y++) {
        const uint8_t *row = values + (size_t)y * cells->columns;
        for (uint32_t x = 0; x < cells->columns;) {
            uint32_t end = x;
            while (end < cells->columns && row[end] == value) {
                end++;
            }
            if (end == x) {
                x++;
                continue;
            }
            /* A run that is the same as the one above was taken with it. */
            if (y == 0 || !is_run(cells, row - cells->columns, value, x, end)) {
                uint32_t down = 1;
                while (y + down < cells->rows &&
                       is_run(cells, row + (size_t)down * cells->columns, value, x, end)) {
                    down++;
                }
                regions[count++] = block_of(cells, x, y, end - x, down);
            }
            x = end;
        }
    }
    qsort(regions, count, sizeof(regions[0]), by_area);
    return count;
}

/* ---- pictures -------------------------------------------------------------------------------- */

/* Where the bytes of columns x.. of row y of a plane begin. */
static uint8_t *at(const struct srp_picture *p, uint32_t plane, uint32_t y, size_t offset)
{
    return p->data[plane] + (ptrdiff_t)y * p->stride[plane] + offset;
}

/* The bytes of a region in one plane. */
struct area {
    uint32_t y, rows;
    size_t offset, bytes;
};

static uint32_t areas_of(const struct srp_picture *p, const struct srp_region *r,
                         struct area areas[3])
{
    const size_t step = p->format == SRP_FORMAT_RGB ? 3 : p->format == SRP_FORMAT_BGRA ? 4 : 1;
    areas[0] = (struct area){
        .y = r->y, .rows = r->height, .offset = r->x * step, .bytes = r->width * step};
    if (step != 1) {
        return 1;
    }
    const size_t pair = p->format == SRP_FORMAT_NV12 ? 2 : 1;
    const uint32_t x = r->x / 2, y = r->y / 2;
    areas[1] = (struct area){.y = y,
                             .rows = (r->y + r->height + 1) / 2 - y,
                             .offset = x * pair,
                             .bytes = ((r->x + r->width + 1) / 2 - x) * pair};
    areas[2] = areas[1];
    return p->format == SRP_FORMAT_NV12 ? 2 : 3;
}

bool srpi_pictures_equal(const struct srp_picture *a, const struct srp_picture *b,
                         const struct srp_region *region, uint32_t radius)
{
    struct srp_region r = {.x = region->x > radius ? region->x - radius : 0,
                           .y = region->y > radius ? region->y - radius : 0};
    r.width = least(region->x + region->width + radius, a->width) - r.x;
    r.height = least(region->y + region->height + radius, a->height) - r.y;
    struct area areas[3];
    const uint32_t planes = areas_of(a, &r, areas);
    for (uint32_t plane = 0; plane < planes; plane++) {
        const struct area *area = &areas[plane];
        for (uint32_t y = area->y; y < area->y + area->rows; y++) {
            if (memcmp(at(a, plane, y, area->offset), at(b, plane, y, area->offset),
                       area->bytes) != 0) {
                return false;
            }
        }
    }
    return true;
}

void srpi_picture_copy(const struct srp_picture *from, const struct srp_picture *to,
                       const struct srp_region *region)
{
    struct area areas[3];
    const uint32_t planes = areas_of(from, region, areas);
    for (uint32_t plane = 0; plane < planes; plane++) {
        const struct area *area = &areas[plane];
        for (uint32_t y = area->y; y < area->y + area->rows; y++) {
            memcpy(at(to, plane, y, area->offset), at(from, plane, y, area->offset), area->bytes);
        }
    }
}
