//! Between the types of the contract and the types inside.

use bytes::Bytes;

use super::bindings::instar::endpoint::{description as wit, launching, types};
use super::metadata::{Case, Field, Handler, MessageType, Metadata, StateSupport, TypeNode};
use super::workload::{ComponentFile, Program, Workload};
use crate::address::{EndpointAddress, Location};
use crate::error::RpcError;
use crate::message::Message;

pub(super) fn message_in(message: types::Message) -> Result<Message, types::Failure> {
    let bytes = message.kind.len();
    if bytes == 0 || bytes > Message::KIND_BYTES_MAX {
        let error = RpcError::TooLarge {
            what: "the kind of a message".to_owned(),
            bytes: bytes as u64,
            limit: Message::KIND_BYTES_MAX as u64,
            setting: "fixed; and it may not be empty".to_owned(),
        };
        return Err(failure_out(&error));
    }
    Ok(Message::new(message.kind, Bytes::from(message.body)))
}

pub(super) fn failure_out(error: &RpcError) -> types::Failure {
    types::Failure {
        code: error.code().to_owned(),
        text: error.to_string(),
    }
}

/// The address a guest means; `here` is this host, for a reference without an address.
pub(super) fn address_in(
    reference: types::EndpointRef,
    here: &Location,
) -> Result<EndpointAddress, types::Failure> {
    let location = match reference.address {
        None => here.clone(),
        Some(text) => text.parse().map_err(|error| types::Failure {
            code: "network".to_owned(),
            text: format!(
                "the reference to `{}` cannot be used: {error}",
                reference.name
            ),
        })?,
    };
    Ok(EndpointAddress::new(reference.name, location))
}

pub(super) fn reference_out(address: &EndpointAddress) -> types::EndpointRef {
    types::EndpointRef {
        name: address.name.clone(),
        address: Some(address.location.to_string()),
    }
}

pub(super) fn workload_in(workload: launching::Workload) -> Workload {
    let program = match workload.program {
        launching::Program::Endpoint(endpoint) => Program::Endpoint {
            names: endpoint.names,
            config: endpoint.config.into_iter().collect(),
        },
        launching::Program::Command(command) => Program::Command {
            arguments: command.arguments,
            environment: command.environment.into_iter().collect(),
        },
    };
    Workload {
        folder: workload.folder,
        component: ComponentFile {
            uri: workload.component.uri,
            sha256: workload.component.sha256,
        },
        memory_mb: workload.memory_mb,
        cpu_percent: workload.cpu_percent,
        program,
    }
}

pub(super) fn metadata_in(metadata: wit::Metadata) -> Metadata {
    Metadata {
        name: metadata.name,
        version: metadata.version,
        about: metadata.about,
        state: StateSupport {
            version: metadata.state.version,
            reads: metadata.state.reads,
            writes: metadata.state.writes,
        },
        rights: metadata.rights,
        handles: metadata.handles.into_iter().map(handler_in).collect(),
        built_with: metadata.built_with,
    }
}

fn handler_in(handler: wit::Handler) -> Handler {
    Handler {
        request: message_type_in(handler.request),
        reply: handler.reply.map(message_type_in),
    }
}

fn message_type_in(message: wit::MessageType) -> MessageType {
    MessageType {
        kind: message.kind,
        about: message.about,
        nodes: message.nodes.into_iter().map(node_in).collect(),
    }
}

fn node_in(node: wit::TypeNode) -> TypeNode {
    match node {
        wit::TypeNode::Boolean => TypeNode::Boolean,
        wit::TypeNode::Signed8 => TypeNode::Signed8,
        wit::TypeNode::Unsigned8 => TypeNode::Unsigned8,
        wit::TypeNode::Signed(bits) => TypeNode::Signed(bits),
        wit::TypeNode::Unsigned(bits) => TypeNode::Unsigned(bits),
        wit::TypeNode::Float32 => TypeNode::Float32,
        wit::TypeNode::Float64 => TypeNode::Float64,
        wit::TypeNode::Character => TypeNode::Character,
        wit::TypeNode::Text => TypeNode::Text,
        wit::TypeNode::Bytes => TypeNode::Bytes,
        wit::TypeNode::Unit => TypeNode::Unit,
        wit::TypeNode::Optional(node) => TypeNode::Optional(node),
        wit::TypeNode::Sequence(node) => TypeNode::Sequence(node),
        wit::TypeNode::TupleOf(nodes) => TypeNode::TupleOf(nodes),
        wit::TypeNode::MapOf((key, value)) => TypeNode::MapOf(key, value),
        wit::TypeNode::Structure(structure) => TypeNode::Structure {
            name: structure.name,
            fields: structure
                .fields
                .into_iter()
                .map(|field| Field {
                    name: field.name,
                    node: field.node,
                })
                .collect(),
        },
        wit::TypeNode::Enumeration(enumeration) => TypeNode::Enumeration {
            name: enumeration.name,
            cases: enumeration
                .cases
                .into_iter()
                .map(|case| Case {
                    name: case.name,
                    payload: case.payload,
                })
                .collect(),
        },
    }
}

pub(super) fn metadata_out(metadata: &Metadata) -> wit::Metadata {
    wit::Metadata {
        name: metadata.name.clone(),
        version: metadata.version.clone(),
        about: metadata.about.clone(),
        state: wit::StateSupport {
            version: metadata.state.version,
            reads: metadata.state.reads.clone(),
            writes: metadata.state.writes.clone(),
        },
        rights: metadata.rights.clone(),
        handles: metadata.handles.iter().map(handler_out).collect(),
        built_with: metadata.built_with.clone(),
    }
}

fn handler_out(handler: &Handler) -> wit::Handler {
    wit::Handler {
        request: message_type_out(&handler.request),
        reply: handler.reply.as_ref().map(message_type_out),
    }
}

fn message_type_out(message: &MessageType) -> wit::MessageType {
    wit::MessageType {
        kind: message.kind.clone(),
        about: message.about.clone(),
        nodes: message.nodes.iter().map(node_out).collect(),
    }
}

fn node_out(node: &TypeNode) -> wit::TypeNode {
    match node {
        TypeNode::Boolean => wit::TypeNode::Boolean,
        TypeNode::Signed8 => wit::TypeNode::Signed8,
        TypeNode::Unsigned8 => wit::TypeNode::Unsigned8,
        TypeNode::Signed(bits) => wit::TypeNode::Signed(*bits),
        TypeNode::Unsigned(bits) => wit::TypeNode::Unsigned(*bits),
        TypeNode::Float32 => wit::TypeNode::Float32,
        TypeNode::Float64 => wit::TypeNode::Float64,
        TypeNode::Character => wit::TypeNode::Character,
        TypeNode::Text => wit::TypeNode::Text,
        TypeNode::Bytes => wit::TypeNode::Bytes,
        TypeNode::Unit => wit::TypeNode::Unit,
        TypeNode::Optional(node) => wit::TypeNode::Optional(*node),
        TypeNode::Sequence(node) => wit::TypeNode::Sequence(*node),
        TypeNode::TupleOf(nodes) => wit::TypeNode::TupleOf(nodes.clone()),
        TypeNode::MapOf(key, value) => wit::TypeNode::MapOf((*key, *value)),
        TypeNode::Structure { name, fields } => wit::TypeNode::Structure(wit::Structure {
            name: name.clone(),
            fields: fields
                .iter()
                .map(|field| wit::Field {
                    name: field.name.clone(),
                    node: field.node,
                })
                .collect(),
        }),
        TypeNode::Enumeration { name, cases } => wit::TypeNode::Enumeration(wit::Enumeration {
            name: name.clone(),
            cases: cases
                .iter()
                .map(|case| wit::EnumerationCase {
                    name: case.name.clone(),
                    payload: case.payload,
                })
                .collect(),
        }),
    }
}
