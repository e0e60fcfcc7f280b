#include "random.h"

#include "bridge.h"

/* Random bytes: the keystream of ChaCha20 (RFC 8439 §2.3) under the seed, from block 0, with a nonce of zeros. */
static uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
static uint32_t block[16];
static uint32_t left; /* bytes of `block` that nobody has seen yet */

void random_seed(const uint8_t seed[SEED_BYTES])
{
    __builtin_memcpy(state + 4, seed, SEED_BYTES);
}

static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a += *b, *d ^= *a, *d = __builtin_rotateleft32(*d, 16);
    *c += *d, *b ^= *c, *b = __builtin_rotateleft32(*b, 12);
    *a += *b, *d ^= *a, *d = __builtin_rotateleft32(*d, 8);
    *c += *d, *b ^= *c, *b = __builtin_rotateleft32(*b, 7);
}

static void next_block(void)
{
    uint32_t x[16];
    __builtin_memcpy(x, state, sizeof x);
    for (int round = 0; round < 20; round += 2) {
        for (int i = 0; i < 4; i++)
            quarter(x + i, x + 4 + i, x + 8 + i, x + 12 + i);
        for (int i = 0; i < 4; i++)
            quarter(x + i, x + 4 + (i + 1) % 4, x + 8 + (i + 2) % 4, x + 12 + (i + 3) % 4);
    }
    for (int i = 0; i < 16; i++)
        block[i] = x[i] + state[i];
    if (++state[12] == 0)
        state[13]++; /* beyond 256 GiB, where RFC 8439 ends */
    left = sizeof block;
}

errno_t CALL(random_get)(guest to, uint32_t length)
{
    if (!guest_has(to, length))
        return FAULT;
    while (length > 0) {
        if (left == 0)
            next_block();
        uint32_t part = length < left ? length : left;
        guest_store(to, (uint8_t *)block + sizeof block - left, part);
        left -= part, to += part, length -= part;
    }
    return SUCCESS;
}
