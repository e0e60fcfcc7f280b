#include "image.h"

struct head {
    uint32_t kind, name_length;
    uint64_t content_length;
};

static uint8_t *image;
static uint32_t size;

static uint64_t padded(uint64_t length)
{
    return (length + 7) & ~UINT64_C(7);
}

errno_t image_set(uint8_t *at, uint32_t length)
{
    for (uint64_t done = 0; done < length;) {
        const struct head *head = (const struct head *)(at + done);
        if (length - done < sizeof *head || head->content_length > length)
            return INVAL;
        done += sizeof *head + padded(head->name_length) + padded(head->content_length);
        if (done > length)
            return INVAL;
    }
    image = at;
    size = length;
    return SUCCESS;
}

bool image_next(const uint8_t **at, struct record *record)
{
    if (!*at)
        *at = image;
    if (*at == image + size)
        return false;
    const struct head *head = (const struct head *)*at;
    const uint8_t *name = *at + sizeof *head;
    uint8_t *content = image + (name - image) + padded(head->name_length);
    record->kind = head->kind;
    record->name = (struct text){(const char *)name, head->name_length};
    record->content = (struct bytes){content, (uint32_t)head->content_length};
    *at = content + padded(head->content_length);
    return true;
}
