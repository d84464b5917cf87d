//! Between the types of the contract and those of the SDK. Only on wasm; no decisions here.

use crate::bindings::exports::instar::endpoint::endpoint as export;
use crate::bindings::instar::endpoint::{description as wit, launching, logging, types};
use crate::description::{Case, Field, Handler, MessageType, Metadata, StateSupport, TypeNode};
use crate::event::Event;
use crate::launching::{Program, Workload};
use crate::logging::Level;
use crate::message::Raw;
use crate::{EndpointRef, Failure};

pub(crate) fn failure_in(failure: types::Failure) -> Failure {
    Failure {
        code: failure.code,
        text: failure.text,
    }
}

pub(crate) fn failure_out(failure: Failure) -> types::Failure {
    types::Failure {
        code: failure.code,
        text: failure.text,
    }
}

pub(crate) fn reference(to: &EndpointRef) -> types::EndpointRef {
    types::EndpointRef {
        name: to.name.clone(),
        address: to.address.clone(),
    }
}

pub(crate) fn level(level: Level) -> logging::Level {
    match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
    }
}

pub(crate) fn workload(workload: &Workload) -> launching::Workload {
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        let pairs = map.iter();
        pairs.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let program = match &workload.program {
        Program::Endpoint { names, config } => {
            launching::Program::Endpoint(launching::EndpointProgram {
                names: names.clone(),
                config: pairs(config),
            })
        }
        Program::Command {
            arguments,
            environment,
        } => launching::Program::Command(launching::CommandProgram {
            arguments: arguments.clone(),
            environment: pairs(environment),
        }),
    };
    launching::Workload {
        folder: workload.folder.clone(),
        component: launching::ComponentFile {
            uri: workload.component.uri.clone(),
            sha256: workload.component.sha256.clone(),
        },
        memory_mb: workload.memory_mb,
        cpu_percent: workload.cpu_percent,
        program,
    }
}

fn raw(message: types::Message) -> Raw {
    Raw {
        kind: message.kind,
        body: message.body,
    }
}

pub(crate) fn event(event: export::Event) -> Event {
    match event {
        export::Event::OnStart => Event::Start,
        export::Event::OnStop => Event::Stop,
        export::Event::OnError(failure) => Event::Error(failure_in(failure)),
        export::Event::OnConnected(address) => Event::Connected(address),
        export::Event::OnDisconnected(address) => Event::Disconnected(address),
        export::Event::OnNetworkError(broken) => Event::NetworkError {
            address: broken.address,
            cause: broken.cause,
        },
        export::Event::Receive(message) => Event::Receive(raw(message)),
        export::Event::ReceiveAndReply(call) => Event::ReceiveAndReply {
            call: call.id,
            message: raw(call.message),
        },
        export::Event::OnReply(reply) => Event::Reply {
            ask: reply.ask,
            token: reply.token,
            outcome: reply.outcome.map(raw).map_err(failure_in),
        },
        export::Event::OnTimer(due) => Event::Timer {
            timer: due.timer,
            token: due.token,
        },
    }
}

pub(crate) fn metadata_out(from: Metadata) -> wit::Metadata {
    let handler = |handler: Handler| wit::Handler {
        request: type_out(handler.request),
        reply: handler.reply.map(type_out),
    };
    wit::Metadata {
        name: from.name,
        version: from.version,
        about: from.about,
        state: wit::StateSupport {
            version: from.state.version,
            reads: from.state.reads,
            writes: from.state.writes,
        },
        rights: from.rights,
        handles: from.handles.into_iter().map(handler).collect(),
        built_with: from.built_with,
    }
}

pub(crate) fn metadata_in(from: wit::Metadata) -> Metadata {
    let handler = |handler: wit::Handler| Handler {
        request: type_in(handler.request),
        reply: handler.reply.map(type_in),
    };
    Metadata {
        name: from.name,
        version: from.version,
        about: from.about,
        state: StateSupport {
            version: from.state.version,
            reads: from.state.reads,
            writes: from.state.writes,
        },
        rights: from.rights,
        handles: from.handles.into_iter().map(handler).collect(),
        built_with: from.built_with,
    }
}

fn type_out(from: MessageType) -> wit::MessageType {
    wit::MessageType {
        kind: from.kind,
        about: from.about,
        nodes: from.nodes.into_iter().map(node_out).collect(),
    }
}

fn type_in(from: wit::MessageType) -> MessageType {
    MessageType {
        kind: from.kind,
        about: from.about,
        nodes: from.nodes.into_iter().map(node_in).collect(),
    }
}

fn node_out(node: TypeNode) -> wit::TypeNode {
    use wit::TypeNode as Out;
    match node {
        TypeNode::Boolean => Out::Boolean,
        TypeNode::Signed8 => Out::Signed8,
        TypeNode::Unsigned8 => Out::Unsigned8,
        TypeNode::Signed(bits) => Out::Signed(bits),
        TypeNode::Unsigned(bits) => Out::Unsigned(bits),
        TypeNode::Float32 => Out::Float32,
        TypeNode::Float64 => Out::Float64,
        TypeNode::Character => Out::Character,
        TypeNode::Text => Out::Text,
        TypeNode::Bytes => Out::Bytes,
        TypeNode::Unit => Out::Unit,
        TypeNode::Optional(value) => Out::Optional(value),
        TypeNode::Sequence(element) => Out::Sequence(element),
        TypeNode::TupleOf(elements) => Out::TupleOf(elements),
        TypeNode::MapOf(key, value) => Out::MapOf((key, value)),
        TypeNode::Structure { name, fields } => {
            let fields = fields.into_iter().map(|field| wit::Field {
                name: field.name,
                node: field.node,
            });
            let fields = fields.collect();
            Out::Structure(wit::Structure { name, fields })
        }
        TypeNode::Enumeration { name, cases } => {
            let cases = cases.into_iter().map(|case| wit::EnumerationCase {
                name: case.name,
                payload: case.payload,
            });
            let cases = cases.collect();
            Out::Enumeration(wit::Enumeration { name, cases })
        }
    }
}

fn node_in(node: wit::TypeNode) -> TypeNode {
    use wit::TypeNode as In;
    match node {
        In::Boolean => TypeNode::Boolean,
        In::Signed8 => TypeNode::Signed8,
        In::Unsigned8 => TypeNode::Unsigned8,
        In::Signed(bits) => TypeNode::Signed(bits),
        In::Unsigned(bits) => TypeNode::Unsigned(bits),
        In::Float32 => TypeNode::Float32,
        In::Float64 => TypeNode::Float64,
        In::Character => TypeNode::Character,
        In::Text => TypeNode::Text,
        In::Bytes => TypeNode::Bytes,
        In::Unit => TypeNode::Unit,
        In::Optional(value) => TypeNode::Optional(value),
        In::Sequence(element) => TypeNode::Sequence(element),
        In::TupleOf(elements) => TypeNode::TupleOf(elements),
        In::MapOf((key, value)) => TypeNode::MapOf(key, value),
        In::Structure(structure) => {
            let fields = structure.fields.into_iter().map(|field| Field {
                name: field.name,
                node: field.node,
            });
            TypeNode::Structure {
                name: structure.name,
                fields: fields.collect(),
            }
        }
        In::Enumeration(enumeration) => {
            let cases = enumeration.cases.into_iter().map(|case| Case {
                name: case.name,
                payload: case.payload,
            });
            TypeNode::Enumeration {
                name: enumeration.name,
                cases: cases.collect(),
            }
        }
    }
}
