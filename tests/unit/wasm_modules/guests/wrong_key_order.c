/* Writes the keys of a map in alphabetical order, where deterministic CBOR has the shorter one first: the SDK must trap. */
#include "edgenode.h"

void edgenode_run(const edgenode_request *request, edgenode_reply *reply)
{
    edgenode_buffer out = {0};
    edgenode_map map = edgenode_map_begin(&out);
    edgenode_map_key(&map, EDGENODE_TEXT("mean"));
    edgenode_cbor_uint(&out, request->series_count);
    edgenode_map_key(&map, EDGENODE_TEXT("min"));
    edgenode_cbor_uint(&out, 0);
    edgenode_map_end(&map);
    edgenode_reply_summary(reply, edgenode_bytes(&out));
}
