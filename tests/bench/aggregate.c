// Reads samples as CSV (time,channel,value,unit) from stdin, and prints their count, sum, least and greatest as JSON.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    static char line[256];
    long count = 0;
    double sum = 0, least = 1e300, greatest = -1e300;
    while (fgets(line, sizeof line, stdin)) {
        char *value = strchr(line, ',');
        value = value ? strchr(value + 1, ',') : NULL;
        if (!value || (value[1] != '-' && (value[1] < '0' || value[1] > '9'))) continue;
        double x = strtod(value + 1, NULL);
        count++;
        sum += x;
        if (x < least) least = x;
        if (x > greatest) greatest = x;
    }
    printf("{\"count\": %ld, \"sum\": %.17g, \"least\": %.17g, \"greatest\": %.17g}\n", count, sum, least, greatest);
    return 0;
}
