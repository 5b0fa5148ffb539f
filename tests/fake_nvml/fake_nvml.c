/*
 * A fake libnvidia-ml.so.1 whose board power is an analytic function of CLOCK_MONOTONIC.
 *
 * Everything that differs between boards is data in the text file named by FAKE_NVML_CONFIG (written by library.py);
 * this file holds only the arithmetic and NVML's calling conventions. Two layers, kept apart on purpose:
 *
 *   truth    power_w(t), a sum of load components, and its exact integral: no sensor, no gain, no quadrature
 *   sensor   what NVML says about it: gain and offset, boxcar means, latching at ticks, lag, noise, faults
 *
 * so that a meter which believes the sensor can be judged against the truth. All state of a reading is a function of
 * (configuration, time), never of who asked before: every process that reads the same file sees the same board.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_BOARDS 16
#define MAX_MIG_SLICES 7
#define CONFIG_POLL_S 0.05 /* one stat per 50 ms costs a call nothing, yet a test's change lands at once */

/* ---- NVML's own types and numbers (nvml.h, API 13; checked against nvidia-ml-py's ctypes declarations) ---- */

typedef unsigned int nvmlReturn_t;
typedef void *nvmlDevice_t;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_UNKNOWN = 999
};
enum { NVML_VALUE_TYPE_UNSIGNED_INT = 1, NVML_VALUE_TYPE_UNSIGNED_LONG_LONG = 3 };
enum { NVML_TOTAL_POWER_SAMPLES = 0, NVML_TEMPERATURE_GPU = 0 };
enum { NVML_PERF_POLICY_POWER = 0, NVML_PERF_POLICY_THERMAL = 1, NVML_PERF_POLICY_COUNT = 12 };
enum {
    NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION = 83,
    NVML_FI_DEV_POWER_AVERAGE = 185,
    NVML_FI_DEV_POWER_INSTANT = 186,
    NVML_FI_DEV_POWER_MIN_LIMIT = 187,
    NVML_FI_DEV_POWER_MAX_LIMIT = 188,
    NVML_FI_DEV_POWER_DEFAULT_LIMIT = 189,
    NVML_FI_DEV_POWER_CURRENT_LIMIT = 190,
    NVML_FI_DEV_ENERGY = 191,
    NVML_FI_DEV_POWER_REQUESTED_LIMIT = 192
};
#define NVML_MEMORY_V2 0x02000028u
#define NVML_TEMPERATURE_V1 0x0100000Cu
#define NVML_CLOCKS_EVENT_REASONS_ALL 0x1FFULL
#define REASON_SW_POWER_CAP 0x4ULL
#define REASON_SW_THERMAL 0x20ULL
#define REASON_HW_THERMAL 0x40ULL

typedef union {
    double dVal;
    unsigned int uiVal;
    unsigned long ulVal;
    unsigned long long ullVal;
    long long sllVal;
    int siVal;
    unsigned short usVal;
} nvmlValue_t;

typedef struct {
    unsigned int fieldId;
    unsigned int scopeId;
    long long timestamp;
    long long latencyUsec;
    unsigned int valueType;
    nvmlReturn_t nvmlReturn;
    nvmlValue_t value;
} nvmlFieldValue_t;

typedef struct { unsigned long long timeStamp; nvmlValue_t sampleValue; } nvmlSample_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned long long referenceTime, violationTime; } nvmlViolationTime_t;
typedef struct { unsigned int version, sensorType; int temperature; } nvmlTemperature_t;
typedef struct { unsigned int isC2cEnabled; } nvmlC2cModeInfo_t;
typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;
typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

_Static_assert(sizeof(nvmlFieldValue_t) == 40, "nvmlFieldValue_t layout");
_Static_assert(sizeof(nvmlMemory_v2_t) == 40, "nvmlMemory_v2_t layout");
_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "nvmlProcessInfo_t layout");
_Static_assert(sizeof(nvmlPciInfo_t) == 68, "nvmlPciInfo_t layout");

/* ---- The configuration: what a board is, what it runs, how it fails ---- */

enum kind { CONSTANT, SQUARE, SINE, RAMP, DECAY };

struct component { /* one additive part of the load; zero outside [start_s, end_s) */
    enum kind kind;
    double start_s, end_s;
    double power_w;  /* height; RAMP: the value at start_s */
    double period_s; /* SQUARE, SINE; DECAY: the time constant */
    double duty;     /* SQUARE */
    double phase_s;  /* SQUARE, SINE: an instant at which a period begins */
    double end_w;    /* RAMP: the value at end_s */
};

struct fault { char call[64]; unsigned int code; double start_s, end_s; };
struct answer { char call[64]; unsigned long long value; double start_s, end_s; };
struct throttle { unsigned long long mask; double start_s, end_s; };
struct process { unsigned int pid; unsigned long long memory_bytes; bool graphics; char name[128]; };

struct board {
    char uuid[96], name[96], pci_bus_id[32];
    double idle_w;
    /* sensor: S(t) = gain * P(t) + offset_w feeds the counter and every power reading */
    double gain, offset_w;
    unsigned long long seed;
    /* energy counter */
    unsigned int counter;
    double tick_s, tick_phase_s, tick_jitter_s, counter_lag_s, counter_window_s, counter_start_j, counter_origin_s;
    double counter_frozen_after_s, counter_reset_at_s;
    /* power */
    unsigned int power;
    double power_period_s, power_phase_s, power_window_s, average_window_s, usage_window_s, power_lag_s, power_noise_w;
    double sample_period_s;
    unsigned int sample_count;
    double power_shy_s; /* asked again within this time, power is refused or 0: the one reading that depends on who asks */
    unsigned int power_shy_code;
    double power_asked_s;
    double module_w; /* CPU and memory of a module whose counter and power cover them; not part of the truth */
    /* faults */
    unsigned int no_permission;
    double lost_after_s;
    /* limits and state */
    double power_limit_w, power_limit_default_w, power_limit_enforced_w, power_limit_min_w, power_limit_max_w;
    unsigned long long memory_total_bytes, memory_reserved_bytes, memory_used_bytes;
    int persistence_mode, ecc_current, ecc_pending, mig_current, mig_pending, c2c_enabled;
    unsigned int compute_mode, virtualization_mode, architecture, brand, minor_number, pci_device_id, pci_subsystem_id;
    unsigned int compute_capability_major, compute_capability_minor, performance_state;
    unsigned int clock_graphics_mhz, clock_sm_mhz, clock_memory_mhz, clock_video_mhz;
    unsigned int clock_graphics_max_mhz, clock_sm_max_mhz, clock_memory_max_mhz, clock_video_max_mhz;
    double temperature_c, temperature_end_c, temperature_start_s, temperature_time_constant_s;
    unsigned long long clocks_event_reasons;
    double call_duration_s;

    struct component *components;
    struct fault *faults;
    struct answer *answers;
    struct throttle *throttles;
    struct process *processes;
    size_t n_components, n_faults, n_answers, n_throttles, n_processes;
    char mig_uuids[MAX_MIG_SLICES][96];
    size_t n_mig_uuids;

    /* running sum of a part-time counter; it only saves work, the sum is the same from scratch */
    bool sum_valid;
    double sum_origin_s, sum_j;
    long long sum_tick;
};

struct config {
    char driver_version[80], nvml_version[80];
    int cuda_driver_version;
    unsigned int init_return;
    double shutdown_at_s; /* somebody else in the process shuts NVML down, once */
    struct board boards[MAX_BOARDS];
    unsigned int n_boards;
};

enum type { REAL, UINT, INT, ULL, TEXT };
struct setting { const char *key; enum type type; size_t offset, size; };

#define SETTING(owner, type, member) \
    {#member, type, offsetof(struct owner, member), sizeof(((struct owner *)0)->member)}

static const struct setting SYSTEM_SETTINGS[] = {
    SETTING(config, TEXT, driver_version),
    SETTING(config, TEXT, nvml_version),
    SETTING(config, INT, cuda_driver_version),
    SETTING(config, UINT, init_return),
    SETTING(config, REAL, shutdown_at_s),
};

static const struct setting BOARD_SETTINGS[] = {
    SETTING(board, TEXT, uuid),
    SETTING(board, TEXT, name),
    SETTING(board, TEXT, pci_bus_id),
    SETTING(board, REAL, idle_w),
    SETTING(board, REAL, gain),
    SETTING(board, REAL, offset_w),
    SETTING(board, ULL, seed),
    SETTING(board, UINT, counter),
    SETTING(board, REAL, tick_s),
    SETTING(board, REAL, tick_phase_s),
    SETTING(board, REAL, tick_jitter_s),
    SETTING(board, REAL, counter_lag_s),
    SETTING(board, REAL, counter_window_s),
    SETTING(board, REAL, counter_start_j),
    SETTING(board, REAL, counter_origin_s),
    SETTING(board, REAL, counter_frozen_after_s),
    SETTING(board, REAL, counter_reset_at_s),
    SETTING(board, UINT, power),
    SETTING(board, REAL, power_period_s),
    SETTING(board, REAL, power_phase_s),
    SETTING(board, REAL, power_window_s),
    SETTING(board, REAL, average_window_s),
    SETTING(board, REAL, usage_window_s),
    SETTING(board, REAL, power_lag_s),
    SETTING(board, REAL, power_noise_w),
    SETTING(board, REAL, sample_period_s),
    SETTING(board, UINT, sample_count),
    SETTING(board, REAL, power_shy_s),
    SETTING(board, UINT, power_shy_code),
    SETTING(board, REAL, module_w),
    SETTING(board, UINT, no_permission),
    SETTING(board, REAL, lost_after_s),
    SETTING(board, REAL, power_limit_w),
    SETTING(board, REAL, power_limit_default_w),
    SETTING(board, REAL, power_limit_enforced_w),
    SETTING(board, REAL, power_limit_min_w),
    SETTING(board, REAL, power_limit_max_w),
    SETTING(board, ULL, memory_total_bytes),
    SETTING(board, ULL, memory_reserved_bytes),
    SETTING(board, ULL, memory_used_bytes),
    SETTING(board, INT, persistence_mode),
    SETTING(board, INT, ecc_current),
    SETTING(board, INT, ecc_pending),
    SETTING(board, INT, mig_current),
    SETTING(board, INT, mig_pending),
    SETTING(board, INT, c2c_enabled),
    SETTING(board, UINT, compute_mode),
    SETTING(board, UINT, virtualization_mode),
    SETTING(board, UINT, architecture),
    SETTING(board, UINT, brand),
    SETTING(board, UINT, minor_number),
    SETTING(board, UINT, pci_device_id),
    SETTING(board, UINT, pci_subsystem_id),
    SETTING(board, UINT, compute_capability_major),
    SETTING(board, UINT, compute_capability_minor),
    SETTING(board, UINT, performance_state),
    SETTING(board, UINT, clock_graphics_mhz),
    SETTING(board, UINT, clock_sm_mhz),
    SETTING(board, UINT, clock_memory_mhz),
    SETTING(board, UINT, clock_video_mhz),
    SETTING(board, UINT, clock_graphics_max_mhz),
    SETTING(board, UINT, clock_sm_max_mhz),
    SETTING(board, UINT, clock_memory_max_mhz),
    SETTING(board, UINT, clock_video_max_mhz),
    SETTING(board, REAL, temperature_c),
    SETTING(board, REAL, temperature_end_c),
    SETTING(board, REAL, temperature_start_s),
    SETTING(board, REAL, temperature_time_constant_s),
    SETTING(board, ULL, clocks_event_reasons),
    SETTING(board, REAL, call_duration_s),
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Global state: one lock around all of it, NVML is thread safe ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct config *config;
static char config_path[4096];
static struct stat config_identity;
static double config_checked_s = -INFINITY;
static unsigned int init_count;
static double shutdown_done_s = -INFINITY;
static double virtual_now_s = NAN;
static char board_handles[MAX_BOARDS]; /* only the addresses are used: handles stay valid across a reload */
static char mig_handles[MAX_BOARDS][MAX_MIG_SLICES];

static double clock_s(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double now_s(void) { return isnan(virtual_now_s) ? clock_s(CLOCK_MONOTONIC) : virtual_now_s; }

/*
 * Instants on other clocks are the monotonic one shifted, so that a virtual clock carries its time stamps along. The
 * shift is taken once: a shift that trembled by a microsecond would hand out the same sample under two time stamps.
 */
static long long stamp_us(clockid_t id, double t_s) {
    static long long shift_us[16];
    static bool known[16];
    if (!known[id]) {
        shift_us[id] = llround(1e6 * (clock_s(id) - clock_s(CLOCK_MONOTONIC)));
        known[id] = true;
    }
    return shift_us[id] + llround(1e6 * t_s);
}

/* ---- Reading the configuration ---- */

static void *grown(void *array, size_t count, size_t size) {
    void *larger = realloc(array, (count + 1) * size);
    if (larger == NULL) abort();
    memset((char *)larger + count * size, 0, size);
    return larger;
}

static bool set(void *owner, const struct setting *settings, size_t n, const char *key, const char *value) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(settings[i].key, key) != 0) continue;
        char *at = (char *)owner + settings[i].offset;
        char *end = NULL;
        switch (settings[i].type) {
        case REAL: *(double *)(void *)at = strtod(value, &end); break;
        case UINT: *(unsigned int *)(void *)at = (unsigned int)strtoul(value, &end, 10); break;
        case INT: *(int *)(void *)at = (int)strtol(value, &end, 10); break;
        case ULL: *(unsigned long long *)(void *)at = strtoull(value, &end, 10); break;
        case TEXT:
            if (strlen(value) >= settings[i].size) return false;
            strcpy(at, value);
            return true;
        }
        return end != value && *end == '\0';
    }
    return false;
}

static bool add_component(struct board *board, const char *value) {
    static const char *const KINDS[] = {"constant", "square", "sine", "ramp", "decay"};
    char kind[16];
    struct component c = {0};
    if (sscanf(value, "%15s %lf %lf %lf %lf %lf %lf %lf", kind, &c.start_s, &c.end_s, &c.power_w, &c.period_s, &c.duty,
               &c.phase_s, &c.end_w) != 8)
        return false;
    for (size_t i = 0; i < COUNT_OF(KINDS); i++) {
        if (strcmp(KINDS[i], kind) != 0) continue;
        c.kind = (enum kind)i;
        board->components = grown(board->components, board->n_components, sizeof c);
        board->components[board->n_components++] = c;
        return true;
    }
    return false;
}

static bool add_fault(struct board *board, const char *value) {
    struct fault f = {0};
    if (sscanf(value, "%63s %u %lf %lf", f.call, &f.code, &f.start_s, &f.end_s) != 4) return false;
    board->faults = grown(board->faults, board->n_faults, sizeof f);
    board->faults[board->n_faults++] = f;
    return true;
}

static bool add_answer(struct board *board, const char *value) {
    struct answer a = {0};
    if (sscanf(value, "%63s %llu %lf %lf", a.call, &a.value, &a.start_s, &a.end_s) != 4) return false;
    board->answers = grown(board->answers, board->n_answers, sizeof a);
    board->answers[board->n_answers++] = a;
    return true;
}

static bool add_throttle(struct board *board, const char *value) {
    struct throttle t = {0};
    if (sscanf(value, "%llu %lf %lf", &t.mask, &t.start_s, &t.end_s) != 3) return false;
    board->throttles = grown(board->throttles, board->n_throttles, sizeof t);
    board->throttles[board->n_throttles++] = t;
    return true;
}

static bool add_process(struct board *board, const char *value) {
    struct process p = {0};
    unsigned int graphics;
    if (sscanf(value, "%u %llu %u %127[^\n]", &p.pid, &p.memory_bytes, &graphics, p.name) < 3) return false;
    p.graphics = graphics != 0;
    board->processes = grown(board->processes, board->n_processes, sizeof p);
    board->processes[board->n_processes++] = p;
    return true;
}

static bool add_mig_uuid(struct board *board, const char *value) {
    if (board->n_mig_uuids == MAX_MIG_SLICES || strlen(value) >= sizeof board->mig_uuids[0]) return false;
    strcpy(board->mig_uuids[board->n_mig_uuids++], value);
    return true;
}

static bool take_line(struct config *into, const char *key, const char *value) {
    if (strcmp(key, "board") == 0) {
        if (into->n_boards == MAX_BOARDS) return false;
        into->n_boards++;
        return true;
    }
    if (into->n_boards == 0) return set(into, SYSTEM_SETTINGS, COUNT_OF(SYSTEM_SETTINGS), key, value);
    struct board *board = &into->boards[into->n_boards - 1];
    if (strcmp(key, "load") == 0) return add_component(board, value);
    if (strcmp(key, "fault") == 0) return add_fault(board, value);
    if (strcmp(key, "answer") == 0) return add_answer(board, value);
    if (strcmp(key, "throttle") == 0) return add_throttle(board, value);
    if (strcmp(key, "process") == 0) return add_process(board, value);
    if (strcmp(key, "mig_uuid") == 0) return add_mig_uuid(board, value);
    return set(board, BOARD_SETTINGS, COUNT_OF(BOARD_SETTINGS), key, value);
}

static void discard(struct config *old) {
    if (old == NULL) return;
    for (unsigned int i = 0; i < old->n_boards; i++) {
        free(old->boards[i].components);
        free(old->boards[i].faults);
        free(old->boards[i].answers);
        free(old->boards[i].throttles);
        free(old->boards[i].processes);
    }
    free(old);
}

static struct config *parsed(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "fake_nvml: cannot read %s: %s\n", path, strerror(errno));
        return NULL;
    }
    struct config *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) abort();
    char line[1024];
    bool good = fgets(line, sizeof line, file) != NULL && strcmp(line, "fake-nvml 1\n") == 0;
    for (unsigned int number = 2; good && fgets(line, sizeof line, file) != NULL; number++) {
        line[strcspn(line, "\n")] = '\0';
        char *value = strchr(line, ' ');
        if (value == NULL) value = line + strlen(line);
        else *value++ = '\0';
        good = take_line(fresh, line, value);
        if (!good) fprintf(stderr, "fake_nvml: %s:%u: not understood: %s %s\n", path, number, line, value);
    }
    fclose(file);
    if (good) return fresh;
    discard(fresh);
    return NULL;
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A file that is not understood leaves no configuration: a test's mistake must fail, not measure the old load. */
static void refresh(bool at_once) {
    double real_s = clock_s(CLOCK_MONOTONIC); /* also under a virtual clock, which may stand still */
    if (!at_once && real_s - config_checked_s < CONFIG_POLL_S) return;
    config_checked_s = real_s;
    struct stat identity = {0};
    stat(config_path, &identity);
    if (config != NULL && same_file(&identity, &config_identity)) return;
    discard(config);
    config = parsed(config_path);
    config_identity = identity;
}

static void use_path(const char *path) {
    if (strcmp(path, config_path) != 0) {
        discard(config);
        config = NULL;
        snprintf(config_path, sizeof config_path, "%s", path);
    }
    refresh(true);
}

/* ---- Truth ---- */

/* Whole and broken periods are kept apart: the difference of two large products would lose the last digits. */
static void split(double t_s, const struct component *c, double *whole, double *part) {
    double periods = (t_s - c->phase_s) / c->period_s;
    *whole = floor(periods);
    *part = periods - *whole;
}

static double component_w(const struct component *c, double t_s) {
    if (t_s < c->start_s || t_s >= c->end_s) return 0.0;
    double whole, part;
    switch (c->kind) {
    case CONSTANT: return c->power_w;
    case SQUARE: split(t_s, c, &whole, &part); return part < c->duty ? c->power_w : 0.0;
    case SINE: split(t_s, c, &whole, &part); return c->power_w * sin(2.0 * M_PI * part);
    case RAMP: return c->power_w + (c->end_w - c->power_w) * (t_s - c->start_s) / (c->end_s - c->start_s);
    case DECAY: return c->power_w * exp(-(t_s - c->start_s) / c->period_s);
    }
    return 0.0;
}

static double component_j(const struct component *c, double from_s, double to_s) {
    double t0 = fmax(from_s, c->start_s), t1 = fmin(to_s, c->end_s);
    if (t1 <= t0) return 0.0;
    double whole0, part0, whole1, part1;
    switch (c->kind) {
    case CONSTANT: return c->power_w * (t1 - t0);
    case SQUARE:
        split(t0, c, &whole0, &part0);
        split(t1, c, &whole1, &part1);
        return c->power_w * c->period_s *
               ((whole1 - whole0) * c->duty + (fmin(part1, c->duty) - fmin(part0, c->duty)));
    case SINE:
        split(t0, c, &whole0, &part0);
        split(t1, c, &whole1, &part1);
        return c->power_w * c->period_s / (2.0 * M_PI) *
               (cos(2.0 * M_PI * part0) - cos(2.0 * M_PI * part1));
    case RAMP: /* a trapezoid: the length times the power in the middle */
        return (t1 - t0) * component_w(c, 0.5 * (t0 + t1));
    case DECAY:
        return c->power_w * c->period_s *
               (exp(-(t0 - c->start_s) / c->period_s) - exp(-(t1 - c->start_s) / c->period_s));
    }
    return 0.0;
}

static double power_w(const struct board *board, double t_s) {
    double sum_w = board->idle_w;
    for (size_t i = 0; i < board->n_components; i++) sum_w += component_w(&board->components[i], t_s);
    return sum_w;
}

static double energy_j(const struct board *board, double from_s, double to_s) {
    if (to_s < from_s) return -energy_j(board, to_s, from_s);
    double sum_j = board->idle_w * (to_s - from_s);
    for (size_t i = 0; i < board->n_components; i++) sum_j += component_j(&board->components[i], from_s, to_s);
    return sum_j;
}

/* ---- Sensor ---- */

/* splitmix64: noise is a function of (seed, index), so that two processes that read the same latch agree. */
static double uniform(unsigned long long seed, long long index) {
    unsigned long long z = seed * 0x9E3779B97F4A7C15ULL + (unsigned long long)index * 0xD1B54A32D192ED03ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    z ^= z >> 31;
    return ((double)(z >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(unsigned long long seed, long long index) {
    return sqrt(-2.0 * log(uniform(seed, 2 * index))) * cos(2.0 * M_PI * uniform(seed, 2 * index + 1));
}

static double seen_j(const struct board *board, double from_s, double to_s) {
    return board->gain * energy_j(board, from_s, to_s) + (board->offset_w + board->module_w) * (to_s - from_s);
}

static double tick_time_s(const struct board *board, long long tick) {
    double jitter_s = board->tick_jitter_s;
    if (jitter_s > 0.0) jitter_s *= uniform(board->seed, tick) - 0.5;
    return board->tick_phase_s + (double)tick * board->tick_s + jitter_s;
}

static long long last_tick(const struct board *board, double t_s) {
    long long tick = (long long)floor((t_s - board->tick_phase_s) / board->tick_s) + 1;
    while (tick_time_s(board, tick) > t_s) tick--;
    return tick;
}

/* A counter that sums short readings has no closed form against a general load, so it is summed from its origin. */
static double part_time_j(struct board *board, double origin_s, long long tick) {
    if (!board->sum_valid || board->sum_origin_s != origin_s || board->sum_tick > tick) {
        board->sum_valid = true;
        board->sum_origin_s = origin_s;
        board->sum_tick = last_tick(board, origin_s);
        board->sum_j = 0.0;
    }
    while (board->sum_tick < tick) {
        double t_s = tick_time_s(board, ++board->sum_tick);
        board->sum_j += board->tick_s / board->counter_window_s * seen_j(board, t_s - board->counter_window_s, t_s);
    }
    return board->sum_j;
}

static unsigned long long counter_mj(struct board *board, double t_s) {
    double visible_s = fmin(t_s - board->counter_lag_s, board->counter_frozen_after_s);
    bool was_reset = visible_s >= board->counter_reset_at_s;
    double origin_s = was_reset ? board->counter_reset_at_s : board->counter_origin_s;
    double total_j = was_reset ? 0.0 : board->counter_start_j;
    long long tick = last_tick(board, visible_s);
    double tick_time = tick_time_s(board, tick);
    if (tick_time > origin_s)
        total_j += board->counter_window_s > 0.0 ? part_time_j(board, origin_s, tick)
                                                 : seen_j(board, origin_s, tick_time);
    return total_j > 0.0 ? (unsigned long long)floor(1000.0 * total_j) : 0ULL;
}

/* Readings round to the nearest mW: a floor would turn an exact 310 W into 309999 by the clock's last bit. */
static unsigned int to_mw(double watts) { return watts > 0.0 ? (unsigned int)llround(1000.0 * watts) : 0u; }

static unsigned int latched_mw(const struct board *board, double window_s, double t_s) {
    double visible_s = t_s - board->power_lag_s;
    long long latch = (long long)floor((visible_s - board->power_phase_s) / board->power_period_s);
    double at_s = board->power_phase_s + (double)latch * board->power_period_s;
    double mean_w = seen_j(board, at_s - window_s, at_s) / window_s;
    if (board->power_noise_w > 0.0) mean_w += board->power_noise_w * normal(board->seed + 1, latch);
    return to_mw(mean_w);
}

static double active_s(const struct board *board, unsigned long long mask, double t_s) {
    double sum_s = 0.0;
    for (size_t i = 0; i < board->n_throttles; i++) {
        const struct throttle *t = &board->throttles[i];
        if (t->mask & mask) sum_s += fmax(0.0, fmin(t_s, t->end_s) - t->start_s);
    }
    return sum_s;
}

static unsigned long long event_reasons(const struct board *board, double t_s) {
    unsigned long long mask = board->clocks_event_reasons;
    for (size_t i = 0; i < board->n_throttles; i++)
        if (t_s >= board->throttles[i].start_s && t_s < board->throttles[i].end_s) mask |= board->throttles[i].mask;
    return mask;
}

static double temperature_c(const struct board *board, double t_s) {
    if (t_s <= board->temperature_start_s || board->temperature_time_constant_s <= 0.0) return board->temperature_c;
    double part = 1.0 - exp(-(t_s - board->temperature_start_s) / board->temperature_time_constant_s);
    return board->temperature_c + part * (board->temperature_end_c - board->temperature_c);
}

/* ---- Exports for tests: truth, the virtual clock, the configuration ---- */

unsigned int fake_nvml_open(const char *path) {
    pthread_mutex_lock(&lock);
    use_path(path);
    unsigned int n_boards = config == NULL ? 0 : config->n_boards;
    pthread_mutex_unlock(&lock);
    return n_boards;
}

void fake_nvml_set_clock(double t) {
    pthread_mutex_lock(&lock);
    virtual_now_s = t;
    pthread_mutex_unlock(&lock);
}

double fake_nvml_energy_j(unsigned device, double t0_monotonic_s, double t1_monotonic_s) {
    pthread_mutex_lock(&lock);
    bool known = config != NULL && device < config->n_boards;
    double result = known ? energy_j(&config->boards[device], t0_monotonic_s, t1_monotonic_s) : NAN;
    pthread_mutex_unlock(&lock);
    return result;
}

double fake_nvml_power_w(unsigned device, double t_monotonic_s) {
    pthread_mutex_lock(&lock);
    bool known = config != NULL && device < config->n_boards;
    double result = known ? power_w(&config->boards[device], t_monotonic_s) : NAN;
    pthread_mutex_unlock(&lock);
    return result;
}

double fake_nvml_last_tick_s(unsigned device, double t_monotonic_s) {
    pthread_mutex_lock(&lock);
    double result = NAN;
    if (config != NULL && device < config->n_boards) {
        const struct board *board = &config->boards[device];
        result = tick_time_s(board, last_tick(board, t_monotonic_s - board->counter_lag_s));
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* ---- The start and end of every NVML call ---- */

struct call { struct board *board; unsigned int index; int slice; double t_s; };

static nvmlReturn_t fault_of(const struct board *board, const char *call, double t_s) {
    if (t_s >= board->lost_after_s) return NVML_ERROR_GPU_IS_LOST;
    for (size_t i = 0; i < board->n_faults; i++) {
        const struct fault *f = &board->faults[i];
        if (t_s >= f->start_s && t_s < f->end_s && (strcmp(f->call, "*") == 0 || strcmp(f->call, call) == 0))
            return f->code;
    }
    return NVML_SUCCESS;
}

/* A value that a call is made to give between two instants, in the driver's unit; else what it would have said. */
static unsigned long long forced(const struct board *board, const char *call, double t_s, unsigned long long value) {
    for (size_t i = 0; i < board->n_answers; i++) {
        const struct answer *a = &board->answers[i];
        if (t_s >= a->start_s && t_s < a->end_s && strcmp(a->call, call) == 0) return a->value;
    }
    return value;
}

static bool resolve(nvmlDevice_t device, struct call *call) {
    for (unsigned int i = 0; i < config->n_boards; i++) {
        call->index = i;
        call->board = &config->boards[i];
        call->slice = -1;
        if (device == &board_handles[i]) return true;
        for (size_t j = 0; j < call->board->n_mig_uuids; j++) {
            call->slice = (int)j;
            if (device == &mig_handles[i][j]) return true;
        }
    }
    return false;
}

static nvmlReturn_t begin_system(void) {
    pthread_mutex_lock(&lock);
    if (init_count == 0) return NVML_ERROR_UNINITIALIZED;
    refresh(false);
    if (config != NULL && now_s() >= config->shutdown_at_s && shutdown_done_s < config->shutdown_at_s) {
        shutdown_done_s = config->shutdown_at_s;
        init_count = 0;
        return NVML_ERROR_UNINITIALIZED;
    }
    return config == NULL ? NVML_ERROR_UNKNOWN : NVML_SUCCESS;
}

static nvmlReturn_t end(nvmlReturn_t status) {
    pthread_mutex_unlock(&lock);
    return status;
}

static void take_time(double duration_s) {
    struct timespec pause = {(time_t)duration_s, (long)(1e9 * (duration_s - floor(duration_s)))};
    nanosleep(&pause, NULL);
}

/* Leaves the lock held, whatever it returns: every NVML function finishes with end(). */
static nvmlReturn_t begin(nvmlDevice_t device, const char *name, struct call *call) {
    nvmlReturn_t status = begin_system();
    if (status != NVML_SUCCESS) return status;
    if (!resolve(device, call)) return NVML_ERROR_INVALID_ARGUMENT;
    if (call->board->call_duration_s > 0.0) {
        double duration_s = call->board->call_duration_s;
        pthread_mutex_unlock(&lock); /* a slow call does not hold up others; the reading is taken at its end */
        take_time(duration_s);
        status = begin_system();
        if (status != NVML_SUCCESS) return status;
        if (!resolve(device, call)) return NVML_ERROR_INVALID_ARGUMENT;
    }
    call->t_s = now_s();
    return fault_of(call->board, name, call->t_s);
}

static nvmlReturn_t copied(const char *text, char *buffer, unsigned int length) {
    if (buffer == NULL || strlen(text) >= length) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return NVML_SUCCESS;
}

/* ---- System calls ---- */

static nvmlReturn_t initialize(void) {
    pthread_mutex_lock(&lock);
    const char *path = getenv("FAKE_NVML_CONFIG");
    if (path == NULL) return end(NVML_ERROR_DRIVER_NOT_LOADED);
    use_path(path);
    if (config == NULL) return end(NVML_ERROR_UNKNOWN);
    if (config->init_return != NVML_SUCCESS) return end(config->init_return);
    init_count++;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) { (void)flags; return initialize(); }
nvmlReturn_t nvmlInit_v2(void) { return initialize(); }
nvmlReturn_t nvmlInit(void) { return initialize(); }

nvmlReturn_t nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    if (init_count == 0) return end(NVML_ERROR_UNINITIALIZED);
    init_count--;
    return end(NVML_SUCCESS);
}

const char *nvmlErrorString(nvmlReturn_t result) {
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case 5: return "Already Initialized";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case 8: return "Insufficient External Power";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case 10: return "Timeout";
    case 11: return "Interrupt Request Issue";
    case 12: return "NVML Shared Library Not Found";
    case 13: return "Function Not Found";
    case 14: return "Corrupted infoROM";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 17: return "The operating system has blocked the request.";
    case 18: return "Driver/library version mismatch";
    case 19: return "GPU is currently in use";
    case 20: return "Insufficient Memory";
    case 21: return "No data";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    nvmlReturn_t status = begin_system();
    return end(status == NVML_SUCCESS ? copied(config->driver_version, version, length) : status);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    nvmlReturn_t status = begin_system();
    return end(status == NVML_SUCCESS ? copied(config->nvml_version, version, length) : status);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    nvmlReturn_t status = begin_system();
    if (status == NVML_SUCCESS) *version = config->cuda_driver_version;
    return end(status);
}
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length) {
    nvmlReturn_t status = begin_system();
    if (status != NVML_SUCCESS) return end(status);
    for (unsigned int i = 0; i < config->n_boards; i++)
        for (size_t j = 0; j < config->boards[i].n_processes; j++)
            if (config->boards[i].processes[j].pid == pid)
                return end(copied(config->boards[i].processes[j].name, name, length));
    return end(NVML_ERROR_NOT_FOUND);
}

/* ---- The power limit: what was set lies in a file beside the configuration, one line per call, the last one holds --- */

static double set_limit_w(const struct board *board, double otherwise_w) {
    char path[sizeof config_path + 8], uuid[96];
    unsigned int mw, pid;
    snprintf(path, sizeof path, "%s.limits", config_path);
    FILE *file = fopen(path, "r");
    if (file == NULL) return otherwise_w;
    while (fscanf(file, "%95s %u %u", uuid, &mw, &pid) == 3)
        if (strcmp(uuid, board->uuid) == 0) otherwise_w = (double)mw / 1000.0;
    fclose(file);
    return otherwise_w;
}

static double limit_w(const struct board *board, double t_s) {
    double watts = set_limit_w(board, board->power_limit_w);
    return (double)forced(board, "nvmlDeviceGetPowerManagementLimit", t_s, to_mw(watts)) / 1000.0;
}

/* ---- Finding a board ---- */

static nvmlReturn_t handle_of(unsigned int index, int slice, const char *name, nvmlDevice_t *device) {
    nvmlReturn_t status = fault_of(&config->boards[index], name, now_s());
    if (status == NVML_SUCCESS) *device = slice < 0 ? &board_handles[index] : &mig_handles[index][slice];
    return status;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    nvmlReturn_t status = begin_system();
    if (status == NVML_SUCCESS) *count = config->n_boards;
    return end(status);
}
nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    nvmlReturn_t status = begin_system();
    if (status != NVML_SUCCESS) return end(status);
    if (index >= config->n_boards) return end(NVML_ERROR_INVALID_ARGUMENT);
    return end(handle_of(index, -1, __func__, device));
}
nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    nvmlReturn_t status = begin_system();
    if (status != NVML_SUCCESS) return end(status);
    for (unsigned int i = 0; i < config->n_boards; i++) {
        const struct board *board = &config->boards[i];
        if (strcmp(board->uuid, uuid) == 0) return end(handle_of(i, -1, __func__, device));
        for (size_t j = 0; j < board->n_mig_uuids; j++)
            if (strcmp(board->mig_uuids[j], uuid) == 0) return end(handle_of(i, (int)j, __func__, device));
    }
    return end(NVML_ERROR_NOT_FOUND);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device) {
    nvmlReturn_t status = begin_system();
    if (status != NVML_SUCCESS) return end(status);
    for (unsigned int i = 0; i < config->n_boards; i++)
        if (strcasecmp(config->boards[i].pci_bus_id, bus_id) == 0) return end(handle_of(i, -1, __func__, device));
    return end(NVML_ERROR_NOT_FOUND);
}

/* ---- Plain facts about a board ---- */

/* A negative value in the configuration means that the board does not have the thing at all. */
#define GETTER(function, c_type, expression, supported)                                                                \
    nvmlReturn_t function(nvmlDevice_t device, c_type *value) {                                                        \
        struct call call;                                                                                              \
        nvmlReturn_t status = begin(device, __func__, &call);                                                          \
        if (status == NVML_SUCCESS && !(supported)) status = NVML_ERROR_NOT_SUPPORTED;                                 \
        if (status == NVML_SUCCESS) *value = (c_type)(expression);                                                     \
        return end(status);                                                                                            \
    }

GETTER(nvmlDeviceGetArchitecture, unsigned int, call.board->architecture, true)
GETTER(nvmlDeviceGetBrand, unsigned int, call.board->brand, true)
GETTER(nvmlDeviceGetMinorNumber, unsigned int, call.board->minor_number, true)
GETTER(nvmlDeviceGetIndex, unsigned int, call.index, true)
GETTER(nvmlDeviceGetComputeMode, unsigned int, call.board->compute_mode, true)
GETTER(nvmlDeviceGetVirtualizationMode, unsigned int, call.board->virtualization_mode, true)
GETTER(nvmlDeviceGetPerformanceState, unsigned int, call.board->performance_state, true)
GETTER(nvmlDeviceGetPersistenceMode, unsigned int, call.board->persistence_mode, call.board->persistence_mode >= 0)
GETTER(nvmlDeviceIsMigDeviceHandle, unsigned int, call.slice >= 0, true)
GETTER(nvmlDeviceGetMaxMigDeviceCount, unsigned int, call.board->mig_current < 0 ? 0 : MAX_MIG_SLICES, true)
GETTER(nvmlDeviceGetPowerManagementLimit, unsigned int, to_mw(limit_w(call.board, call.t_s)), call.slice < 0)
GETTER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned int, to_mw(call.board->power_limit_default_w), call.slice < 0)
GETTER(nvmlDeviceGetEnforcedPowerLimit, unsigned int,
       to_mw(set_limit_w(call.board, call.board->power_limit_enforced_w)), call.slice < 0)
GETTER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, event_reasons(call.board, call.t_s), true)
GETTER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, event_reasons(call.board, call.t_s), true)
GETTER(nvmlDeviceGetSupportedClocksEventReasons, unsigned long long, NVML_CLOCKS_EVENT_REASONS_ALL, true)
GETTER(nvmlDeviceGetSupportedClocksThrottleReasons, unsigned long long, NVML_CLOCKS_EVENT_REASONS_ALL, true)

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    return end(status == NVML_SUCCESS ? copied(call.board->name, name, length) : status);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    return end(copied(call.slice < 0 ? call.board->uuid : call.board->mig_uuids[call.slice], uuid, length));
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *info) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    memset(info, 0, sizeof *info);
    if (sscanf(call.board->pci_bus_id, "%x:%x:%x", &info->domain, &info->bus, &info->device) != 3)
        return end(NVML_ERROR_UNKNOWN);
    snprintf(info->busIdLegacy, sizeof info->busIdLegacy, "%04X:%02X:%02X.0", info->domain & 0xFFFFu, info->bus & 0xFFu,
             info->device & 0xFFu);
    snprintf(info->busId, sizeof info->busId, "%s", call.board->pci_bus_id);
    info->pciDeviceId = call.board->pci_device_id;
    info->pciSubSystemId = call.board->pci_subsystem_id;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    *major = (int)call.board->compute_capability_major;
    *minor = (int)call.board->compute_capability_minor;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int *min_mw,
                                                          unsigned int *max_mw) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    *min_mw = to_mw(call.board->power_limit_min_w);
    *max_mw = to_mw(call.board->power_limit_max_w);
    return end(NVML_SUCCESS);
}

/* A fault of this call with the code 4 is a user who may not; real drivers want root for it. */
nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t device, unsigned int mw) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status == NVML_SUCCESS && call.slice >= 0) status = NVML_ERROR_NOT_SUPPORTED;
    if (status != NVML_SUCCESS) return end(status);
    if (mw < to_mw(call.board->power_limit_min_w) || mw > to_mw(call.board->power_limit_max_w))
        return end(NVML_ERROR_INVALID_ARGUMENT);
    char path[sizeof config_path + 8];
    snprintf(path, sizeof path, "%s.limits", config_path);
    FILE *file = fopen(path, "a");
    if (file == NULL) return end(NVML_ERROR_UNKNOWN);
    fprintf(file, "%s %u %u\n", call.board->uuid, mw, (unsigned int)getpid());
    fclose(file);
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (call.board->ecc_current < 0) return end(NVML_ERROR_NOT_SUPPORTED);
    *current = (unsigned int)call.board->ecc_current;
    *pending = (unsigned int)call.board->ecc_pending;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (call.board->mig_current < 0) return end(NVML_ERROR_NOT_SUPPORTED);
    *current = (unsigned int)call.board->mig_current;
    *pending = (unsigned int)call.board->mig_pending;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *slice) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (index >= call.board->n_mig_uuids) return end(NVML_ERROR_NOT_FOUND);
    *slice = &mig_handles[call.index][index];
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t slice, nvmlDevice_t *device) {
    struct call call;
    nvmlReturn_t status = begin(slice, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (call.slice < 0) return end(NVML_ERROR_INVALID_ARGUMENT);
    *device = &board_handles[call.index];
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetC2cModeInfoV(nvmlDevice_t device, nvmlC2cModeInfo_t *info) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (call.board->c2c_enabled < 0) return end(NVML_ERROR_NOT_SUPPORTED);
    info->isC2cEnabled = (unsigned int)call.board->c2c_enabled;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (call.board->memory_total_bytes == 0) return end(NVML_ERROR_NOT_SUPPORTED);
    memory->total = call.board->memory_total_bytes;
    memory->used = call.board->memory_used_bytes + call.board->memory_reserved_bytes; /* v1 does not tell them apart */
    memory->free = memory->total - memory->used;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (memory->version != NVML_MEMORY_V2) return end(NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    if (call.board->memory_total_bytes == 0) return end(NVML_ERROR_NOT_SUPPORTED);
    memory->total = call.board->memory_total_bytes;
    memory->reserved = call.board->memory_reserved_bytes;
    memory->used = call.board->memory_used_bytes;
    memory->free = memory->total - memory->reserved - memory->used;
    return end(NVML_SUCCESS);
}

/* ---- Clocks, temperature, load, processes ---- */

static nvmlReturn_t clock_of(const struct board *board, unsigned int type, bool maximum, unsigned int *mhz) {
    const unsigned int now[] = {board->clock_graphics_mhz, board->clock_sm_mhz, board->clock_memory_mhz,
                                board->clock_video_mhz};
    const unsigned int most[] = {board->clock_graphics_max_mhz, board->clock_sm_max_mhz, board->clock_memory_max_mhz,
                                 board->clock_video_max_mhz};
    if (type >= COUNT_OF(now)) return NVML_ERROR_INVALID_ARGUMENT;
    *mhz = maximum ? most[type] : now[type];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned int type, unsigned int *mhz) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    return end(status == NVML_SUCCESS ? clock_of(call.board, type, false, mhz) : status);
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, unsigned int type, unsigned int *mhz) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    return end(status == NVML_SUCCESS ? clock_of(call.board, type, true, mhz) : status);
}

nvmlReturn_t nvmlDeviceGetClock(nvmlDevice_t device, unsigned int type, unsigned int id, unsigned int *mhz) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status == NVML_SUCCESS && id != 0) status = NVML_ERROR_NOT_SUPPORTED; /* 0 is NVML_CLOCK_ID_CURRENT */
    return end(status == NVML_SUCCESS ? clock_of(call.board, type, false, mhz) : status);
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned int sensor, unsigned int *celsius) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status == NVML_SUCCESS && sensor != NVML_TEMPERATURE_GPU) status = NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS) *celsius = (unsigned int)lround(temperature_c(call.board, call.t_s));
    return end(status);
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *temperature) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (temperature->version != NVML_TEMPERATURE_V1) return end(NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    if (temperature->sensorType != NVML_TEMPERATURE_GPU) return end(NVML_ERROR_INVALID_ARGUMENT);
    temperature->temperature = (int)lround(temperature_c(call.board, call.t_s));
    return end(NVML_SUCCESS);
}

/* Busy is "draws more than idle": enough to tell a loaded board from an idle one, not a model of utilisation. */
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (call.slice >= 0 || call.board->mig_current > 0) return end(NVML_ERROR_NOT_SUPPORTED);
    bool busy = energy_j(call.board, call.t_s - 0.1, call.t_s) / 0.1 > call.board->idle_w + 1.0;
    utilization->gpu = (unsigned int)forced(call.board, __func__, call.t_s, busy ? 100 : 0);
    utilization->memory = busy ? 50 : 0;
    return end(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetViolationStatus(nvmlDevice_t device, unsigned int policy, nvmlViolationTime_t *violation) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (policy >= NVML_PERF_POLICY_COUNT) return end(NVML_ERROR_INVALID_ARGUMENT);
    unsigned long long mask = policy == NVML_PERF_POLICY_POWER     ? REASON_SW_POWER_CAP
                              : policy == NVML_PERF_POLICY_THERMAL ? REASON_SW_THERMAL | REASON_HW_THERMAL
                                                                   : 0ULL;
    violation->referenceTime = (unsigned long long)stamp_us(CLOCK_REALTIME, call.t_s);
    violation->violationTime = (unsigned long long)llround(1e9 * active_s(call.board, mask, call.t_s));
    return end(NVML_SUCCESS);
}

static nvmlReturn_t running(const struct board *board, bool graphics, unsigned int *count, nvmlProcessInfo_t *infos) {
    unsigned int found = 0;
    for (size_t i = 0; i < board->n_processes; i++) {
        const struct process *p = &board->processes[i];
        if (p->graphics != graphics) continue;
        if (infos != NULL && found < *count)
            infos[found] = (nvmlProcessInfo_t){p->pid, p->memory_bytes, 0xFFFFFFFFu, 0xFFFFFFFFu};
        found++;
    }
    bool fits = found <= *count;
    *count = found;
    return fits ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *infos) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    return end(status == NVML_SUCCESS ? running(call.board, false, count, infos) : status);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                      nvmlProcessInfo_t *infos) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    return end(status == NVML_SUCCESS ? running(call.board, true, count, infos) : status);
}

/* ---- Power and energy ---- */

static nvmlReturn_t sensor_status(const struct call *call, bool present) {
    if (call->slice >= 0 || !present) return NVML_ERROR_NOT_SUPPORTED; /* there is no power hardware per MIG slice */
    return call->board->no_permission ? NVML_ERROR_NO_PERMISSION : NVML_SUCCESS;
}

/* Some boards that are asked again before their next update refuse, or say 0 W. */
static nvmlReturn_t power_mw(struct board *board, const char *call, double window_s, double t_s, unsigned int *mw) {
    double since_s = t_s - board->power_asked_s; /* below 0 where a test has set the virtual clock back */
    bool too_soon = since_s >= 0.0 && since_s < board->power_shy_s;
    if (!too_soon) board->power_asked_s = t_s;
    if (too_soon && board->power_shy_code != NVML_SUCCESS) return (nvmlReturn_t)board->power_shy_code;
    *mw = too_soon ? 0u : (unsigned int)forced(board, call, t_s, latched_mw(board, window_s, t_s));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *millijoules) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status == NVML_SUCCESS) status = sensor_status(&call, call.board->counter);
    if (status == NVML_SUCCESS)
        *millijoules = forced(call.board, __func__, call.t_s, counter_mj(call.board, call.t_s));
    return end(status);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *milliwatts) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status == NVML_SUCCESS) status = sensor_status(&call, call.board->power && call.board->usage_window_s > 0.0);
    if (status == NVML_SUCCESS)
        status = power_mw(call.board, __func__, call.board->usage_window_s, call.t_s, milliwatts);
    return end(status);
}

static nvmlReturn_t field(const struct call *call, nvmlFieldValue_t *f) {
    struct board *board = call->board;
    char name[32];
    snprintf(name, sizeof name, "field:%u", f->fieldId);
    nvmlReturn_t status = fault_of(board, name, call->t_s);
    if (status != NVML_SUCCESS) return status;
    if (f->scopeId != 0) return NVML_ERROR_NOT_SUPPORTED; /* no module or memory power on this kind of board */
    f->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    double window_s = 0.0;
    switch (f->fieldId) {
    case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
    case NVML_FI_DEV_ENERGY:
        status = sensor_status(call, board->counter);
        if (status != NVML_SUCCESS) return status;
        f->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
        f->value.ullVal = forced(board, "nvmlDeviceGetTotalEnergyConsumption", call->t_s, counter_mj(board, call->t_s));
        return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_AVERAGE: window_s = board->average_window_s; break;
    case NVML_FI_DEV_POWER_INSTANT: window_s = board->power_window_s; break;
    case NVML_FI_DEV_POWER_MIN_LIMIT: f->value.uiVal = to_mw(board->power_limit_min_w); return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_MAX_LIMIT: f->value.uiVal = to_mw(board->power_limit_max_w); return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_DEFAULT_LIMIT: f->value.uiVal = to_mw(board->power_limit_default_w); return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_CURRENT_LIMIT:
        f->value.uiVal = to_mw(set_limit_w(board, board->power_limit_enforced_w));
        return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_REQUESTED_LIMIT: f->value.uiVal = to_mw(limit_w(board, call->t_s)); return NVML_SUCCESS;
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
    status = sensor_status(call, board->power && window_s > 0.0);
    return status == NVML_SUCCESS ? power_mw(board, name, window_s, call->t_s, &f->value.uiVal) : status;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    if (count <= 0 || values == NULL) return end(NVML_ERROR_INVALID_ARGUMENT);
    for (int i = 0; i < count; i++) {
        values[i].timestamp = stamp_us(CLOCK_REALTIME, call.t_s);
        values[i].latencyUsec = 0;
        values[i].value.ullVal = 0;
        values[i].nvmlReturn = field(&call, &values[i]);
    }
    return end(NVML_SUCCESS); /* also when each field failed: NVML reports per field */
}

nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, unsigned int type, unsigned long long last_seen_us,
                                  unsigned int *value_type, unsigned int *count, nvmlSample_t *samples) {
    struct call call;
    nvmlReturn_t status = begin(device, __func__, &call);
    if (status != NVML_SUCCESS) return end(status);
    const struct board *board = call.board;
    status = sensor_status(&call, board->power && board->sample_count > 0 && type == NVML_TOTAL_POWER_SAMPLES);
    if (status != NVML_SUCCESS) return end(status);
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    double newest = floor((call.t_s - board->power_phase_s) / board->sample_period_s);
    double newest_s = board->power_phase_s + newest * board->sample_period_s;
    if (stamp_us(CLOCK_BOOTTIME, newest_s) <= (long long)last_seen_us) return end(NVML_ERROR_NOT_FOUND);
    if (samples == NULL) {
        *count = board->sample_count;
        return end(NVML_SUCCESS);
    }
    unsigned int found = 0;
    for (unsigned int age = board->sample_count; age-- > 0 && found < *count;) {
        double at_s = board->power_phase_s + (newest - age) * board->sample_period_s;
        long long stamp = stamp_us(CLOCK_BOOTTIME, at_s);
        if (stamp <= (long long)last_seen_us) continue;
        samples[found].timeStamp = (unsigned long long)stamp;
        samples[found].sampleValue.ullVal = 0;
        samples[found].sampleValue.uiVal =
            to_mw(seen_j(board, at_s - board->sample_period_s, at_s) / board->sample_period_s);
        found++;
    }
    *count = found;
    return end(NVML_SUCCESS);
}
