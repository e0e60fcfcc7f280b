/* Gives back everything that the SDK read, so that tests can compare it with what was sent. */
#include "edgenode.h"

void edgenode_run(const edgenode_request *request, edgenode_reply *reply)
{
    edgenode_params params = edgenode_params_begin(request->params);
    edgenode_numbers numbers = edgenode_params_numbers(&params, EDGENODE_TEXT("numbers"), (edgenode_numbers){0});
    const edgenode_context *context = request->context;

    edgenode_buffer out = {0};
    edgenode_map map = edgenode_map_begin(&out);
    edgenode_map_key(&map, EDGENODE_TEXT("flag"));
    edgenode_cbor_bool(&out, edgenode_params_bool(&params, EDGENODE_TEXT("flag"), false));
    edgenode_map_key(&map, EDGENODE_TEXT("text"));
    edgenode_cbor_text(&out, edgenode_params_text(&params, EDGENODE_TEXT("text"), EDGENODE_TEXT("none")));
    edgenode_map_key(&map, EDGENODE_TEXT("number"));
    edgenode_cbor_double(&out, edgenode_params_number(&params, EDGENODE_TEXT("number"), -1));
    edgenode_map_key(&map, EDGENODE_TEXT("series"));
    edgenode_cbor_array(&out, request->series_count);
    for (uint32_t i = 0; i < request->series_count; i++)
        edgenode_cbor_text(&out, request->series[i].name);
    edgenode_map_key(&map, EDGENODE_TEXT("context"));
    edgenode_cbor_array(&out, 8);
    edgenode_cbor_int(&out, context->start_ns);
    edgenode_cbor_int(&out, context->end_ns);
    edgenode_cbor_uint(&out, context->step);
    edgenode_cbor_uint(&out, context->revision);
    edgenode_cbor_uint(&out, context->expected);
    edgenode_cbor_uint(&out, context->received);
    edgenode_cbor_uint(&out, context->late);
    edgenode_cbor_uint(&out, context->dropped);
    edgenode_map_key(&map, EDGENODE_TEXT("numbers"));
    edgenode_cbor_array(&out, numbers.count);
    for (uint32_t i = 0; i < numbers.count; i++)
        edgenode_cbor_double(&out, numbers.values[i]);
    edgenode_map_end(&map);
    edgenode_params_end(&params);

    edgenode_reply_summary(reply, edgenode_bytes(&out));
    edgenode_reply_state(reply, request->state);
    edgenode_reply_alert(reply, (edgenode_text){context->seed, sizeof context->seed});
    for (uint32_t i = 0; i < request->series_count; i++)
        edgenode_reply_derived(reply, &request->series[i]);
}
