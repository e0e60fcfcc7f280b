/* Gives a summary twice, which the host would refuse: the SDK must trap first. */
#include "edgenode.h"

void edgenode_run(const edgenode_request *request, edgenode_reply *reply)
{
    edgenode_reply_summary(reply, request->params);
    edgenode_reply_summary(reply, request->params);
}
