/* SPDX-License-Identifier: MIT
 *
 * One JSON object. Addresses are hex strings, since JSON readers lose bits of large numbers; ends are
 * exclusive; nodes and CPUs go by the firmware's ids.
 */
#include "inspect.h"

#include <stdio.h>

typedef unsigned long long ull;

static void text(const char *string)
{
    putchar('"');
    for (; *string != '\0'; string++) {
        unsigned char c = (unsigned char)*string;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ' || c > '~')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

/* Separates the elements of an array: nothing before the first. */
static void comma(bool *first)
{
    if (!*first)
        putchar(',');
    *first = false;
}

static void span(uint64_t start, uint64_t end)
{
    printf("\"start\":\"0x%llx\",\"end\":\"0x%llx\"", (ull)start, (ull)end);
}

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

static uint32_t node_id(const struct machine *machine, uint16_t node)
{
    return machine->topo.node[node].id;
}

/* ---- Memory ------------------------------------------------------------------------------------------- */

static void regions(const struct machine *machine)
{
    bool first = true;
    printf("\"regions\":[");
    for (uint32_t i = 0; i < machine->map.region_count; i++) {
        const struct mem_region *region = &machine->map.region[i];
        comma(&first);
        printf("\n{");
        span(region->start.v, region->end.v);
        printf(",\"type\":\"%s\",\"node\":%u}", mem_type_name(region->type), node_id(machine, region->node));
    }
    printf("],\n");
}

static void sums(const struct machine *machine)
{
    const struct memmap *map = &machine->map;
    uint64_t end;
    printf("\"usable_bytes\":%llu,\n", (ull)memmap_bytes(map, MEM_USABLE, UINT64_MAX));
    printf("\"usable_frames\":%llu,\n", (ull)memmap_frames(map, MEM_USABLE));
    printf("\"usable_below_16m\":%llu,\n", (ull)memmap_bytes(map, MEM_USABLE, MIB(16)));
    printf("\"usable_below_4g\":%llu,\n", (ull)memmap_bytes(map, MEM_USABLE, GIB(4)));
    printf("\"memory_bytes\":%llu,\n", (ull)memmap_ram_bytes(map, &end));
    printf("\"highest_end\":\"0x%llx\",\n", (ull)highest_end(machine));
}

static void reserved(const struct subject *subject)
{
    const struct memmap *map = &subject->machine.map;
    bool first = true;
    printf("\"reserved\":[");
    for (uint32_t i = 0; i < map->claim_count; i++) {
        const struct mem_claim *claim = &map->claim[i];
        if (!is_reservation(claim))
            continue;
        comma(&first);
        printf("\n{");
        span(claim->start.v, claim->end.v);
        printf(",\"type\":\"%s\",\"source\":\"%s\",\"at\":%u", mem_type_name(claim->type),
               mem_source_name(claim->source), claim->detail);
        const char *name = claim_name(subject, claim);
        if (name != NULL) {
            printf(",\"name\":");
            text(name);
        }
        putchar('}');
    }
    printf("],\n");
}

static void dynamic_reserved(const struct machine *machine)
{
    bool first = true;
    printf("\"dynamic_reserved\":[");
    for (uint32_t i = 0; i < machine->dynamic_count; i++) {
        const struct dynamic_reservation *wish = &machine->dynamic[i];
        comma(&first);
        printf("\n{\"name\":");
        text(wish->name);
        printf(",\"size\":%llu,\"align\":%llu,\"no_map\":%s,\"reusable\":%s,\"ranges\":[", (ull)wish->size,
               (ull)wish->align, truth(wish->nomap), truth(wish->reusable));
        if (wish->range_end != 0) {
            putchar('{');
            span(wish->range_start, wish->range_end);
            putchar('}');
        }
        printf("]}");
    }
    printf("],\n");
}

/* ---- Topology ----------------------------------------------------------------------------------------- */

static void node_ranges(const struct machine *machine, uint16_t node)
{
    bool first = true;
    uint64_t from = 0;
    struct range range;
    printf("\"ranges\":[");
    while (node_range_next(machine, node, &from, &range)) {
        comma(&first);
        putchar('{');
        span(range.start, range.end);
        putchar('}');
    }
    printf("],");
}

/* All that are there, or only those to be left alone. */
static void node_cpus(const struct topo *topo, uint16_t node, const char *key, bool disabled_only)
{
    bool first = true;
    printf("\"%s\":[", key);
    for (uint32_t i = 0; i < topo->cpu_count; i++) {
        if (topo->cpu[i].node != node || (disabled_only && topo->cpu[i].enabled))
            continue;
        comma(&first);
        printf("%llu", (ull)topo->cpu[i].hw_id);
    }
    printf("],");
}

static void nodes(const struct subject *subject)
{
    const struct topo *topo = &subject->machine.topo;
    bool first = true;
    printf("\"nodes\":[");
    for (uint16_t i = 0; i < topo->node_count; i++) {
        bool first_distance = true;
        comma(&first);
        printf("\n{\"id\":%u,\"bytes\":%llu,\"frames\":%llu,", topo->node[i].id, (ull)node_bytes(subject, i),
               (ull)node_frames(subject, i));
        node_ranges(&subject->machine, i);
        node_cpus(topo, i, "cpus", false);
        node_cpus(topo, i, "disabled_cpus", true);
        printf("\"distances\":[");
        for (uint16_t j = 0; j < topo->node_count; j++) {
            comma(&first_distance);
            printf("%u", topo->distance[i][j]);
        }
        printf("],\"memory_only\":%s}", truth(node_is_memory_only(subject, i)));
    }
    printf("],\n");
}

static void fallback(const struct topo *topo)
{
    bool first = true;
    printf("\"fallback\":[");
    for (uint16_t i = 0; i < topo->node_count; i++) {
        bool first_node = true;
        comma(&first);
        putchar('[');
        for (uint16_t j = 0; j < topo->node_count; j++) {
            comma(&first_node);
            printf("%u", topo->node[topo->fallback[i][j]].id);
        }
        putchar(']');
    }
    printf("],\n");
}

static void zones(const struct machine *machine)
{
    bool first = true;
    printf("\"zones\":[");
    for (uint16_t i = 0; i < machine->topo.node_count; i++) {
        for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
            struct zone_figures zone = zone_figures(machine, i, (zone_kind_t)kind);
            if (zone.frames == 0)
                continue;
            comma(&first);
            printf("\n{\"node\":%u,\"zone\":\"%s\",", node_id(machine, i), zone_name((zone_kind_t)kind));
            span(zone.start, zone.end);
            printf(",\"frames\":%llu}", (ull)zone.frames);
        }
    }
    printf("],\n");
}

/* ---- Platform ----------------------------------------------------------------------------------------- */

static void platform(const struct machine *machine)
{
    static const char *const consoles[] = {"none", "ns16550", "pl011", "sbi", "dw-apb-uart", "bcm2835-aux",
                                           "sifive", "cadence"};
    static const char *const methods[] = {"none", "psci-hvc", "psci-smc", "sbi", "apic"};
    const struct platform *p = &machine->platform;
    printf("\"platform\":{\"model\":");
    text(p->model);
    printf(",\"console\":{\"kind\":\"%s\",\"io_port\":%s,\"base\":\"0x%llx\",\"reg_shift\":%u,\"reg_width\":%"
           "u},",
           consoles[p->console.kind], truth(p->console.io_port), (ull)p->console.base, p->console.reg_shift,
           p->console.reg_width);
    printf("\"cpu_method\":\"%s\",\"gic\":{\"version\":%u,\"dist\":\"0x%llx\",\"cpu\":\"0x%llx\"},",
           methods[p->cpu_method], p->gic_version, (ull)p->gic_dist, (ull)p->gic_cpu);
    printf("\"timer_irq\":%u,\"timebase_hz\":%llu,\"lapic\":\"0x%llx\",\"exit_device\":\"0x%llx\",",
           p->timer_irq, (ull)p->timebase_hz, (ull)p->lapic, (ull)p->sifive_test);
    printf("\"bootargs\":");
    text(machine->bootargs);
    printf(",\"initrd\":{");
    span(machine->initrd_start, machine->initrd_end);
    printf("}},\n");
}

static void warnings(const struct notes *notes)
{
    bool first = true;
    printf("\"warnings\":[");
    for (const char *line = note_next(notes, NULL); line != NULL; line = note_next(notes, line)) {
        comma(&first);
        putchar('\n');
        text(line);
    }
    if (notes->dropped > 0) {
        comma(&first);
        printf("\n\"%u more lines\"", notes->dropped);
    }
    printf("]}\n");
}

void print_json(const struct subject *subject)
{
    const struct machine *machine = &subject->machine;
    putchar('{');
    regions(machine);
    sums(machine);
    reserved(subject);
    dynamic_reserved(machine);
    nodes(subject);
    fallback(&machine->topo);
    zones(machine);
    platform(machine);
    warnings(&machine->notes);
}
