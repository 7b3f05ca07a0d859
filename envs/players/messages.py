"""The messages of the protocol as a table; a descriptor pool of their own keeps them apart from mlagents_envs'."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "communicator_objects"

# message: fields as "number name type"; `*`: repeated; `map`: behaviour name -> message; `|`: in an observation's oneof
MESSAGE_FIELDS = {
    "HeaderProto": "1 status int32; 2 message string",
    "FloatData": "1 data *float",
    "ObservationProto": "1 shape *int32; 2 compression_type int32; 3 compressed_data |bytes; 4 float_data |FloatData; "
    "5 compressed_channel_mapping *int32; 6 dimension_properties *int32; 7 observation_type int32; 8 name string",
    "AgentInfoProto": "7 reward float; 8 done bool; 9 max_step_reached bool; 10 id int32; 11 action_mask *bool; "
    "13 observations *ObservationProto; 14 group_id int32; 15 group_reward float",
    "ListAgentInfoProto": "1 value *AgentInfoProto",
    "AgentActionProto": "1 vector_actions_deprecated *float; 4 value float; 6 continuous_actions *float; "
    "7 discrete_actions *int32",
    "ListAgentActionProto": "1 value *AgentActionProto",
    "ActionSpecProto": "1 num_continuous_actions int32; 2 num_discrete_actions int32; 3 discrete_branch_sizes *int32; "
    "4 action_descriptions *string",
    "BrainParametersProto": "7 brain_name string; 8 is_training bool; 9 action_spec ActionSpecProto",
    "UnityRLCapabilitiesProto": "1 baseRLCapabilities bool; 2 concatenatedPngObservations bool; "
    "3 compressedChannelMapping bool; 4 hybridActions bool; 5 trainingAnalytics bool; "
    "6 variableLengthObservation bool; 7 multiAgentGroups bool",
    "UnityRLInitializationInputProto": "1 seed int32; 2 communication_version string; 3 package_version string; "
    "4 capabilities UnityRLCapabilitiesProto; 5 num_areas int32",
    "UnityRLInitializationOutputProto": "1 name string; 2 communication_version string; 3 log_path string; "
    "5 brain_parameters *BrainParametersProto; 7 package_version string; 8 capabilities UnityRLCapabilitiesProto",
    "UnityRLInputProto": "1 agent_actions map ListAgentActionProto; 4 command int32; 5 side_channel bytes",
    "UnityRLOutputProto": "2 agentInfos map ListAgentInfoProto; 3 side_channel bytes",
    "UnityInputProto": "1 rl_input UnityRLInputProto; 2 rl_initialization_input UnityRLInitializationInputProto",
    "UnityOutputProto": "1 rl_output UnityRLOutputProto; 2 rl_initialization_output UnityRLInitializationOutputProto",
    "UnityMessageProto": "1 header HeaderProto; 2 unity_output UnityOutputProto; 3 unity_input UnityInputProto",
}
_Field = descriptor_pb2.FieldDescriptorProto
SCALAR_TYPES = {
    "int32": _Field.TYPE_INT32,  # enums are int32 on the wire
    "float": _Field.TYPE_FLOAT,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    """Adds a field, described as in MESSAGE_FIELDS, to a message."""
    number, name, *rest = text.split()
    kind, repeated, choice = rest[-1], rest[-1][0] == "*", rest[-1][0] == "|"
    kind = kind.lstrip("*|")
    if rest[0] == "map":
        entry = message.nested_type.add(name=name[0].upper() + name.title().replace("_", "")[1:] + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "1 key string")
        _add_field(entry, f"2 value {kind}")
        kind, repeated = f"{message.name}.{entry.name}", True
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if kind in SCALAR_TYPES:
        field.type = SCALAR_TYPES[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    if choice:
        if not message.oneof_decl:
            message.oneof_decl.add(name="observation_data")
        field.oneof_index = 0


def _build() -> dict[str, Any]:
    """The class of each message."""
    file = descriptor_pb2.FileDescriptorProto(name="player.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGE_FIELDS.items():
        message = file.message_type.add(name=name)
        for text in fields.split(";"):
            _add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGE_FIELDS
    }


_classes = _build()
UnityMessageProto: Any = _classes["UnityMessageProto"]
