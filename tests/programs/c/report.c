// The report of tests/programs/__init__.py, over the C library: stdio, dirent, time.
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CHANNELS = 16, NAME = 64 };

typedef struct {
    char name[NAME];
    long count;
    double least, greatest, sum;
    FILE *part;
} Channel;

static void *checked(void *pointer, const char *what) {
    if (pointer == NULL) {
        perror(what);
        exit(EXIT_FAILURE);
    }
    return pointer;
}

static void check(bool good, const char *what) {
    if (!good) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

static void path_of(char *path, size_t size, const char *channel, const char *suffix) {
    snprintf(path, size, "/tmp/parts/%s.%s", channel, suffix);
    for (char *at = path + strlen("/tmp/parts/"); *at; at++)
        if (*at == '/') *at = '.';
}

static Channel *channel_of(Channel *channels, int *known, const char *name) {
    for (int i = 0; i < *known; i++)
        if (strcmp(channels[i].name, name) == 0) return &channels[i];
    check(*known < CHANNELS, "channels");
    Channel *channel = &channels[(*known)++];
    char path[128];
    snprintf(channel->name, sizeof channel->name, "%s", name);
    path_of(path, sizeof path, name, "part");
    channel->part = checked(fopen(path, "a"), path);
    return channel;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const Channel *)a)->name, ((const Channel *)b)->name);
}

static bool read_threshold(double *above) {
    char text[256] = "";
    FILE *params = fopen("/in/params.json", "r");
    if (params == NULL) return false;
    fread(text, 1, sizeof text - 1, params);
    fclose(params);
    const char *key = strstr(text, "\"above\"");
    if (key == NULL) return false;
    *above = strtod(strchr(key, ':') + 1, NULL);
    return true;
}

static long count_step(void) {
    long steps = 0;
    FILE *state = fopen("/state/in", "r");
    if (state != NULL) {
        check(fscanf(state, "%ld", &steps) == 1, "/state/in");
        fclose(state);
    }
    state = checked(fopen("/state/out", "w"), "/state/out");
    fprintf(state, "%ld\n", ++steps);
    check(fclose(state) == 0, "/state/out");
    return steps;
}

static long aggregate(Channel *channels, int *known) {
    double above;
    bool has_threshold = read_threshold(&above);
    FILE *derived = checked(fopen("/out/derived.csv", "w"), "/out/derived.csv");
    fprintf(derived, "time,channel,value\n");
    char line[256], name[NAME], value[64];
    long over = 0;
    check(fgets(line, sizeof line, stdin) != NULL, "stdin");
    while (fgets(line, sizeof line, stdin)) {
        char time[32];
        check(sscanf(line, "%31[^,],%63[^,],%63[^,\n]", time, name, value) == 3, "a row");
        Channel *channel = channel_of(channels, known, name);
        double x = strtod(value, NULL);
        if (channel->count == 0 || x < channel->least) channel->least = x;
        if (channel->count == 0 || x > channel->greatest) channel->greatest = x;
        channel->count++;
        channel->sum += x;
        fprintf(channel->part, "%s\n", value);
        if (has_threshold && x > above) {
            fprintf(derived, "%s,%s.over,%s\n", time, name, value);
            over++;
        }
    }
    check(fclose(derived) == 0, "/out/derived.csv");
    return over;
}

// Renames every part, and tells what the folder holds then, by name.
static void tell_parts(Channel *channels, int known) {
    char from[128], to[128];
    for (int i = 0; i < known; i++) {
        path_of(from, sizeof from, channels[i].name, "part");
        path_of(to, sizeof to, channels[i].name, "txt");
        check(fclose(channels[i].part) == 0 && rename(from, to) == 0, to);
    }
    struct dirent **entries;
    int found = scandir("/tmp/parts", &entries, NULL, alphasort), told = 0;
    for (int i = 0; i < found; i++) {
        if (entries[i]->d_name[0] == '.') continue;
        struct stat status;
        snprintf(to, sizeof to, "/tmp/parts/%s", entries[i]->d_name);
        check(stat(to, &status) == 0 && unlink(to) == 0, to);
        printf("%s\"%s\": %lld", told++ ? ", " : "", entries[i]->d_name, (long long)status.st_size);
    }
    check(rmdir("/tmp/parts") == 0, "/tmp/parts");
}

static bool waits(void) {
    struct timespec before, after, pause = {.tv_nsec = 50000000};
    clock_gettime(CLOCK_MONOTONIC, &before);
    check(nanosleep(&pause, NULL) == 0, "nanosleep");
    clock_gettime(CLOCK_MONOTONIC, &after);
    return (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec >= pause.tv_nsec;
}

int main(void) {
    static Channel channels[CHANNELS];
    int known = 0;
    check(mkdir("/tmp/parts", 0700) == 0, "/tmp/parts");
    long over = aggregate(channels, &known), steps = count_step();
    qsort(channels, known, sizeof *channels, by_name);
    printf("{\"steps\": %ld, \"over\": %ld, \"parts\": {", steps, over);
    tell_parts(channels, known);
    printf("}, \"channels\": {");
    for (int i = 0; i < known; i++) {
        Channel *channel = &channels[i];
        printf("%s\"%s\": {\"count\": %ld, \"least\": %.17g, \"greatest\": %.17g, \"mean\": %.17g}", i ? ", " : "", channel->name,
               channel->count, channel->least, channel->greatest, channel->sum / (double)channel->count);
    }
    printf("}, \"waited\": %s}\n", waits() ? "true" : "false");
    return EXIT_SUCCESS;
}
