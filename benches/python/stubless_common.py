"""What both subjects of ours share: the schema, loaded from its .proto at run time."""

import stubless as sl
import subject

SCHEMA = sl.Schema.load("bench.proto", include=[str(subject.PROTO)])
Msg, Order = SCHEMA.message("bench.v1.Msg"), SCHEMA.message("bench.v1.Order")
