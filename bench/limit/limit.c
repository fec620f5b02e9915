/* The yardstick of `npm run bench -- limit`: an x86-64 page walk with permission checks and accessed/dirty updates
 * behind a two-level set-associative TLB with true LRU, in plain C. One run does every workload once, long enough to
 * measure, and prints "name nanoseconds-per-operation checksum" a line. The workloads are those of workloads.ts.
 * Simpler than the model it is compared with: no 5-level paging, masking, shadow stacks, PKRS, global pages, observers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { WRITE = 1, FETCH = 2, USER = 4 };
enum { RIGHT_USER = 16, RIGHT_WRITE = 32, RIGHT_XD = 64, RIGHT_DIRTY = 128 };
enum { OK, NOT_CANONICAL, NOT_PRESENT, DENIED, RESERVED, NO_MEMORY };
static const uint64_t P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, XD = 1ull << 63;
static const uint64_t FRAME = 0x000ffffffffff000ull, RESERVED_BITS = 0x000fc00000000000ull; /* MAXPHYADDR 46 */
static const uint64_t MAPPED = 0x7f0000000000ull, DATA = 0x7e0000000000ull;

/* set at run time, as the model's memory is */
static uint64_t memory_bytes;
enum { PAGES = 1 << 18, DATA_PAGES = 32, ACCESSES = 1 << 20 };

static uint64_t *memory;
static uint64_t cr3, next_table = 0x2000, pcid;
/* registers are set at run time, so that the compiler cannot fold them */
static unsigned cr0_wp, cr4_smep, cr4_smap, cr4_pke, rflags_ac, efer_nxe, pkru;

struct entry { uint64_t tag, data; };
struct tlb { struct entry *entries; uint32_t *ages; uint32_t sets, ways; };
static struct entry first_entries[64], second_entries[1536];
static uint32_t first_ages[64], second_ages[1536], stamp;
static uint64_t pa, translation;
/* counted, as the model does */
static uint32_t walks, second_hits;

static inline int denies(uint32_t rights, uint32_t access)
{
    uint32_t user_page = rights & RIGHT_USER;
    if (access & USER) {
        if (!user_page || ((access & WRITE) && !(rights & RIGHT_WRITE))) return 1;
    } else {
        if ((access & WRITE) && !(rights & RIGHT_WRITE) && cr0_wp) return 1;
        if (user_page && ((access & FETCH) ? cr4_smep : cr4_smap && !rflags_ac)) return 1;
    }
    if (access & FETCH) return (rights & RIGHT_XD) && efer_nxe;
    if (cr4_pke && user_page) {
        uint32_t key = pkru >> (2 * (rights & 15));
        if (key & 1) return 1;
        if ((key & 2) && (access & WRITE) && ((access & USER) || cr0_wp)) return 1;
    }
    return 0;
}

static int walk(uint64_t va, uint32_t access)
{
    uint64_t table = cr3, allowed = RW | US, disabled = 0;
    if ((uint64_t)((int64_t)(va << 16) >> 16) != va) return NOT_CANONICAL;
    for (int level = 3;; level--) {
        uint64_t at = table + (((va >> (12 + 9 * level)) & 511) << 3), entry;
        if (at >= memory_bytes) return NO_MEMORY;
        entry = memory[at >> 3];
        if (!(entry & P)) return NOT_PRESENT;
        if ((entry & RESERVED_BITS) || ((entry & XD) && !efer_nxe) || (level == 3 && (entry & PS))) return RESERVED;
        allowed &= entry;
        disabled |= entry;
        if (level == 0 || (entry & PS)) {
            uint64_t offset = (1ull << (12 + 9 * level)) - 1, set = A | ((access & WRITE) ? D : 0);
            uint32_t rights;
            if (level && (entry & FRAME & offset & ~0x1000ull)) return RESERVED;
            rights = (uint32_t)((entry >> 59) & 15) | ((allowed & US) ? RIGHT_USER : 0) | ((allowed & RW) ? RIGHT_WRITE : 0)
                | ((disabled & XD) ? RIGHT_XD : 0);
            if (denies(rights, access)) return DENIED;
            if ((entry & set) != set) memory[at >> 3] = entry |= set;
            if (entry & D) rights |= RIGHT_DIRTY;
            translation = (((entry & ~offset) | (va & offset)) & FRAME) | rights;
            pa = (translation & FRAME) | (va & 4095);
            walks++;
            return OK;
        }
        if (!(entry & A)) memory[at >> 3] = entry | A;
        table = entry & FRAME;
    }
}

static inline void put(struct entry *entries, uint32_t *ages, uint32_t ways, uint64_t tag, uint64_t data)
{
    uint32_t victim = 0;
    for (uint32_t way = 0; way < ways; way++) {
        if (entries[way].tag == tag) { victim = way; break; }
        if (ages[way] < ages[victim]) victim = way;
    }
    entries[victim].tag = tag;
    entries[victim].data = data;
    ages[victim] = ++stamp;
}

static int translate(uint64_t va, uint32_t access)
{
    uint64_t page = (va >> 12) & 0xfffffffffull, tag = page << 12 | pcid | 1ull << 48;
    uint32_t first = ((uint32_t)page & 15) * 4, second = ((uint32_t)page & 127) * 12;
    int kind;
    for (uint32_t way = first; way < first + 4; way++)
        if (first_entries[way].tag == tag) {
            uint64_t data = first_entries[way].data;
            if (((access & WRITE) && !(data & RIGHT_DIRTY)) || denies((uint32_t)data & 0xfff, access)) goto miss;
            first_ages[way] = ++stamp;
            pa = (data & FRAME) | (va & 4095);
            return OK;
        }
    for (uint32_t way = second; way < second + 12; way++)
        if (second_entries[way].tag == tag) {
            uint64_t data = second_entries[way].data;
            if (((access & WRITE) && !(data & RIGHT_DIRTY)) || denies((uint32_t)data & 0xfff, access)) goto miss;
            second_ages[way] = ++stamp;
            second_hits++;
            pa = (data & FRAME) | (va & 4095);
            put(first_entries + first, first_ages + first, 4, tag, data);
            return OK;
        }
miss:
    kind = walk(va, access);
    if (kind) return kind;
    put(second_entries + second, second_ages + second, 12, tag, translation);
    put(first_entries + first, first_ages + first, 4, tag, translation);
    return OK;
}

static void map(uint64_t va, uint64_t target)
{
    uint64_t table = cr3;
    for (int level = 3; level > 0; level--) {
        uint64_t *entry = &memory[(table >> 3) + ((va >> (12 + 9 * level)) & 511)];
        if (!(*entry & P)) { *entry = next_table | P | RW | US; next_table += 4096; }
        table = *entry & FRAME;
    }
    memory[(table >> 3) + ((va >> 12) & 511)] = target | P | RW | US | XD;
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

/* order 0: 64 accesses to each page in turn; 1: random pages */
static void make_stream(uint64_t *stream, uint64_t base, uint32_t pages, int order)
{
    uint32_t state = 2463534242u;
    for (uint32_t i = 0; i < ACCESSES; i++) {
        uint32_t page = (order ? next_random(&state) : i >> 6) & (pages - 1);
        stream[i] = base + ((uint64_t)page << 12) + (((i * 40503u) & 511) << 3);
    }
}

static uint32_t run_translate(const uint64_t *stream)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < ACCESSES; i++) {
        if (translate(stream[i], USER | ((i & 3) == 0 ? WRITE : 0))) return 0xdead;
        sum += (uint32_t)(pa >> 3) ^ (uint32_t)(pa >> 32);
    }
    return sum;
}
static uint32_t run_walk(const uint64_t *stream)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < ACCESSES; i++) {
        if (walk(stream[i], USER | ((i & 3) == 0 ? WRITE : 0))) return 0xdead;
        sum += (uint32_t)(pa >> 3) ^ (uint32_t)(pa >> 32);
    }
    return sum;
}
static uint32_t run_read(const uint64_t *stream)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < ACCESSES; i++) {
        uint64_t value;
        if (translate(stream[i], USER)) return 0xdead;
        if (pa >= memory_bytes) return 0xdead;
        value = memory[pa >> 3];
        sum += (uint32_t)value ^ (uint32_t)(value >> 32);
    }
    return sum;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static const struct { const char *name; uint64_t base; uint32_t pages; int order; uint32_t (*run)(const uint64_t *); } workloads[] = {
    { "tlb-l1-seq", 0x7f0000000000ull, 32, 0, run_translate },
    { "tlb-l1-hit", 0x7f0000000000ull, 32, 1, run_translate },
    { "tlb-l2-hit", 0x7f0000000000ull, 1024, 1, run_translate },
    { "tlb-walk-1g", 0x7f0000000000ull, PAGES, 1, run_translate },
    { "walk-hot", 0x7f0000000000ull, 32, 1, run_walk },
    { "walk-1g", 0x7f0000000000ull, PAGES, 1, run_walk },
    { "read64", 0x7e0000000000ull, DATA_PAGES, 0, run_read },
    { "read64-random", 0x7e0000000000ull, DATA_PAGES, 1, run_read },
};

int main(int argc, char **argv)
{
    unsigned on = argc > 0 && argv[0] != 0;
    uint64_t *stream = malloc(8ull * ACCESSES);
    memory_bytes = 256u << 20;
    cr0_wp = cr4_smep = cr4_smap = cr4_pke = efer_nxe = on;
    rflags_ac = !on;
    pkru = on * 0x55555550u;
    pcid = on * 5;
    cr3 = on * 0x1000;
    memory = mmap(0, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!stream || memory == MAP_FAILED) return 1;
    /* page i to a scrambled frame between 16 and 80 GiB, as a page allocator that has run for a while gives them */
    for (uint32_t i = 0; i < PAGES; i++)
        map(MAPPED + ((uint64_t)i << 12), (uint64_t)(((i * 2654435761u) & 0xffffffu) + 0x400000u) << 12);
    for (uint32_t i = 0; i < DATA_PAGES; i++) {
        uint64_t frame = 0x4000 + ((i * 2654435761u) >> 4 & 0x3fff);
        map(DATA + ((uint64_t)i << 12), frame << 12);
        for (uint32_t word = 0; word < 512; word++) memory[(frame << 9) + word] = ((uint64_t)(i * 977u + word) << 32) | (word * 2654435761u);
    }
    for (uint32_t w = 0; w < sizeof workloads / sizeof *workloads; w++) {
        uint32_t sum = 0;
        double best = 0, spent = 0;
        int passes = 0;
        memset(first_entries, 0, sizeof first_entries);
        memset(second_entries, 0, sizeof second_entries);
        memset(first_ages, 0, sizeof first_ages);
        memset(second_ages, 0, sizeof second_ages);
        stamp = 0;
        make_stream(stream, workloads[w].base, workloads[w].pages, workloads[w].order);
        workloads[w].run(stream);
        while (spent < 60e6 || passes < 3) {
            double start = now();
            sum = workloads[w].run(stream);
            spent += now() - start;
            passes++;
        }
        best = spent / passes / ACCESSES;
        printf("%s %.4f %u\n", workloads[w].name, best, sum);
    }
    return 0;
}
