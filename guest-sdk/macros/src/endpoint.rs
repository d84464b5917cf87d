//! `#[endpoint(...)]`: makes an endpoint out of the handlers of an `impl`.
//!
//! The handlers stay what they are, methods of the type; beside them comes an `impl Endpoint` whose
//! functions choose the handler by kind.

mod arguments;

#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, FnArg, ImplItem, ImplItemFn, ItemImpl, LitInt, LitStr, Type};

use self::arguments::{Arguments, Entries};

/// The callbacks that have one name and one form.
const CALLBACKS: [&str; 5] = [
    "on_stop",
    "on_error",
    "on_connected",
    "on_disconnected",
    "on_network_error",
];

/// All attributes that a handler can have.
const KNOWN: &str = "on_start, receive, receive_and_reply, on_reply, on_timer, on_stop, on_error, \
                     on_connected, on_disconnected, on_network_error, migrate_from(N), migrate_to(N)";

/// A method that is a handler.
struct Handler {
    role: Role,
    method: ImplItemFn,
}

enum Role {
    Start,
    Receive,
    ReceiveAndReply,
    OnReply,
    OnTimer,
    /// One of [`CALLBACKS`].
    Callback(String),
    MigrateFrom(u32),
    MigrateTo(u32),
}

pub(crate) fn expand(arguments: TokenStream, mut item: ItemImpl) -> syn::Result<TokenStream> {
    let arguments: Arguments = syn::parse2(arguments)?;
    let mut handlers = Vec::new();
    for inner in &mut item.items {
        if let ImplItem::Fn(method) = inner {
            let mut role = None;
            for attribute in std::mem::take(&mut method.attrs) {
                match role_of(&attribute)? {
                    Some(_) if role.is_some() => {
                        return Err(Error::new_spanned(attribute, "a handler has one role"));
                    }
                    Some(found) => role = Some(found),
                    None => method.attrs.push(attribute),
                }
            }
            if let Some(role) = role {
                let method = method.clone();
                handlers.push(Handler { role, method });
            }
        }
    }
    if let Some((_, path, _)) = &item.trait_ {
        return Err(Error::new_spanned(
            path,
            "an endpoint is an `impl` of its own, of no trait",
        ));
    }
    if let Some(parameter) = item.generics.params.first() {
        return Err(Error::new_spanned(
            parameter,
            "an endpoint cannot be generic",
        ));
    }
    let endpoint = endpoint(&arguments, &item, &handlers)?;
    Ok(quote! {
        #item
        #endpoint
    })
}

fn role_of(attribute: &Attribute) -> syn::Result<Option<Role>> {
    let Some(name) = attribute.path().get_ident().map(ToString::to_string) else {
        return Ok(None);
    };
    let version = || attribute.parse_args::<LitInt>()?.base10_parse::<u32>();
    Ok(Some(match name.as_str() {
        "on_start" => Role::Start,
        "receive" => Role::Receive,
        "receive_and_reply" => Role::ReceiveAndReply,
        "on_reply" => Role::OnReply,
        "on_timer" => Role::OnTimer,
        "migrate_from" => Role::MigrateFrom(version()?),
        "migrate_to" => Role::MigrateTo(version()?),
        name if CALLBACKS.contains(&name) => Role::Callback(name.to_owned()),
        name if name.starts_with("on_") || name.starts_with("migrate_") => {
            let text = format!("unknown role; there are {KNOWN}");
            return Err(Error::new_spanned(attribute, text));
        }
        _ => return Ok(None),
    }))
}

/// The pieces of the `impl Endpoint`.
#[derive(Default)]
struct Pieces {
    start: Option<TokenStream>,
    receive: Vec<TokenStream>,
    reply: Vec<TokenStream>,
    on_reply: Vec<TokenStream>,
    on_timer: Vec<TokenStream>,
    callbacks: Vec<TokenStream>,
    /// The roles of `callbacks`.
    roles: Vec<String>,
    migrate_from: Vec<TokenStream>,
    migrate_to: Vec<TokenStream>,
    reads: Vec<u32>,
    writes: Vec<u32>,
    handles: Vec<TokenStream>,
    /// Kinds of messages, of continuations, of timers: each must be handled once.
    kinds: [Vec<Type>; 3],
}

fn endpoint(
    arguments: &Arguments,
    item: &ItemImpl,
    handlers: &[Handler],
) -> syn::Result<TokenStream> {
    let this = &item.self_ty;
    let mut pieces = Pieces {
        reads: vec![arguments.state_version],
        writes: vec![arguments.state_version],
        ..Pieces::default()
    };
    for handler in handlers {
        pieces.add(handler, this)?;
    }
    let Some(start) = &pieces.start else {
        return Err(Error::new_spanned(
            this,
            "how it starts is missing: `#[on_start] fn start(ctx: &mut Context) -> Result<Self, Failure>`",
        ));
    };
    let Arguments {
        name,
        version,
        state_version,
        rights,
        ..
    } = arguments;
    let about = arguments
        .about
        .iter()
        .map(LitStr::value)
        .collect::<String>();
    let entries = match &arguments.entries {
        None => quote! { None },
        Some(Entries { writes, reads }) => quote! {
            Some(::instar_sdk::EntryFormats { writes: #writes, reads: &[#(#reads),*] })
        },
    };
    let Pieces {
        receive,
        reply,
        on_reply,
        on_timer,
        callbacks,
        migrate_from,
        migrate_to,
        reads,
        writes,
        handles,
        kinds,
        ..
    } = &pieces;
    let unique = kinds.iter().map(|kinds| {
        quote! {
            const _: () = ::std::assert!(
                ::instar_sdk::__private::all_different(
                    &[#(<#kinds as ::instar_sdk::Message>::KIND),*]
                ),
                "two handlers have the same kind of message",
            );
        }
    });
    Ok(quote! {
        #(#unique)*

        impl ::instar_sdk::Endpoint for #this {
            const NAME: &'static str = #name;
            const VERSION: &'static str = #version;
            const ABOUT: &'static str = #about;
            const STATE_VERSION: u32 = #state_version;
            const READS: &'static [u32] = &[#(#reads),*];
            const WRITES: &'static [u32] = &[#(#writes),*];
            const RIGHTS: &'static [&'static str] = &[#(#rights),*];
            const ENTRIES: ::std::option::Option<::instar_sdk::EntryFormats> = #entries;

            fn handles() -> ::std::vec::Vec<::instar_sdk::description::Handler> {
                ::std::vec![#(#handles),*]
            }

            fn start(
                ctx: &mut ::instar_sdk::Context,
            ) -> ::std::result::Result<Self, ::instar_sdk::Failure> {
                #start
            }

            fn receive(
                runtime: &::std::rc::Rc<::instar_sdk::__private::Runtime<Self>>,
                message: ::instar_sdk::__private::Raw,
            ) -> ::std::result::Result<(), ::instar_sdk::Failure> {
                #(#receive)*
                Err(runtime.unsupported("a one-way message", &message.kind))
            }

            fn receive_and_reply(
                runtime: &::std::rc::Rc<::instar_sdk::__private::Runtime<Self>>,
                call: u64,
                message: ::instar_sdk::__private::Raw,
            ) -> ::std::result::Result<(), ::instar_sdk::Failure> {
                let _ = call;
                #(#reply)*
                Err(runtime.unsupported("a call", &message.kind))
            }

            fn on_reply(
                runtime: &::std::rc::Rc<::instar_sdk::__private::Runtime<Self>>,
                kind: &str,
                body: &[u8],
                outcome: ::std::result::Result<::instar_sdk::__private::Raw, ::instar_sdk::Failure>,
            ) -> ::std::result::Result<(), ::instar_sdk::Failure> {
                let _ = (body, &outcome);
                #(#on_reply)*
                Err(runtime.unsupported("an answer to a continuation", kind))
            }

            fn on_timer(
                runtime: &::std::rc::Rc<::instar_sdk::__private::Runtime<Self>>,
                kind: &str,
                body: &[u8],
            ) -> ::std::result::Result<(), ::instar_sdk::Failure> {
                let _ = body;
                #(#on_timer)*
                Err(runtime.unsupported("a timer", kind))
            }

            #(#callbacks)*

            fn migrate_from(
                version: u32,
                state: &[u8],
            ) -> ::std::option::Option<::std::result::Result<Self, ::instar_sdk::Failure>> {
                let _ = state;
                match version {
                    #(#migrate_from)*
                    _ => None,
                }
            }

            fn migrate_to(
                &self,
                version: u32,
            ) -> ::std::option::Option<
                ::std::result::Result<::std::vec::Vec<u8>, ::instar_sdk::Failure>,
            > {
                match version {
                    #(#migrate_to)*
                    _ => None,
                }
            }
        }
    })
}

impl Pieces {
    fn add(&mut self, handler: &Handler, this: &Type) -> syn::Result<()> {
        let Handler { role, method } = handler;
        let name = &method.sig.ident;
        let is_async = method.sig.asyncness.is_some();
        let types = argument_types(method);
        let has_self = method.sig.receiver().is_some();
        match role {
            Role::Start => {
                if self.start.is_some() {
                    return Err(Error::new_spanned(name, "it starts in one way only"));
                }
                let form = "(ctx: &mut Context) -> Result<Self, Failure>";
                expect(method, !has_self && !is_async && types.len() == 1, form)?;
                self.start = Some(quote! { Self::#name(ctx) });
            }
            Role::Receive => {
                expect_handler(method, &[2], "message")?;
                let message = argument(method, &types, 1)?;
                let call = match is_async {
                    true => quote! { runtime.receive_async::<#message, _>(&message, Self::#name) },
                    false => quote! { runtime.receive::<#message>(&message, Self::#name) },
                };
                self.receive
                    .push(when(&message, quote! { message.kind }, call));
                self.handles.push(quote! {
                    ::instar_sdk::description::Handler {
                        request: ::instar_sdk::type_of::<#message>(),
                        reply: None,
                    }
                });
                self.kinds[0].push(message);
            }
            Role::ReceiveAndReply => {
                expect_handler(method, &[2, 3], "request")?;
                let request = argument(method, &types, 1)?;
                let call = match (is_async, types.len()) {
                    (true, _) => {
                        quote! { runtime.reply_async::<#request, _>(call, &message, Self::#name) }
                    }
                    (false, 2) => {
                        quote! { runtime.reply::<#request>(call, &message, Self::#name) }
                    }
                    _ => quote! { runtime.reply_later::<#request>(call, &message, Self::#name) },
                };
                self.reply
                    .push(when(&request, quote! { message.kind }, call));
                self.handles.push(quote! {
                    ::instar_sdk::description::Handler {
                        request: ::instar_sdk::type_of::<#request>(),
                        reply: Some(::instar_sdk::type_of::<
                            <#request as ::instar_sdk::Request>::Reply
                        >()),
                    }
                });
                self.kinds[0].push(request);
            }
            Role::OnReply => {
                let form = "(&mut self, ctx: &mut Context, pending: Continuation, outcome: Result<Reply, Failure>)";
                expect(method, has_self && !is_async && types.len() == 3, form)?;
                let pending = argument(method, &types, 1)?;
                let call = quote! { runtime.go_on::<#pending>(body, outcome, Self::#name) };
                self.on_reply.push(when(&pending, quote! { kind }, call));
                self.kinds[1].push(pending);
            }
            Role::OnTimer => {
                let form = "(&mut self, ctx: &mut Context, due: Message)";
                expect(method, has_self && !is_async && types.len() == 2, form)?;
                let due = argument(method, &types, 1)?;
                let call = quote! { runtime.timer::<#due>(body, Self::#name) };
                self.on_timer.push(when(&due, quote! { kind }, call));
                self.kinds[2].push(due);
            }
            Role::Callback(role) => {
                if self.roles.contains(role) {
                    let text = format!("there is a handler `{role}` already");
                    return Err(Error::new_spanned(name, text));
                }
                self.roles.push(role.clone());
                self.callbacks.push(callback(role, method, &types)?);
            }
            Role::MigrateFrom(version) => {
                let form = "(old: OlderState)";
                expect(method, !has_self && !is_async && types.len() == 1, form)?;
                let old = argument(method, &types, 0)?;
                add_version(&mut self.reads, *version, method)?;
                self.migrate_from.push(quote! {
                    #version => Some(
                        ::instar_sdk::__private::decode::<#old>(state).and_then(Self::#name)
                    ),
                });
            }
            Role::MigrateTo(version) => {
                expect(method, has_self && !is_async && types.is_empty(), "(&self)")?;
                add_version(&mut self.writes, *version, method)?;
                self.migrate_to.push(quote! {
                    #version => Some(
                        <#this>::#name(self).and_then(|old| ::instar_sdk::__private::encode(&old))
                    ),
                });
            }
        }
        Ok(())
    }
}

/// The own version stands in the list first.
fn add_version(versions: &mut Vec<u32>, version: u32, method: &ImplItemFn) -> syn::Result<()> {
    let reason = match versions.first() {
        Some(own) if *own == version => {
            format!("{version} is the endpoint's own `state_version`: it needs no migration")
        }
        _ if versions.contains(&version) => {
            format!("state version {version} has a migration already")
        }
        _ => {
            versions.push(version);
            return Ok(());
        }
    };
    Err(Error::new_spanned(&method.sig.ident, reason))
}

/// Hands on to a handler when the kind is its message's.
fn when(message: &Type, kind: TokenStream, call: TokenStream) -> TokenStream {
    quote! {
        if #kind == <#message as ::instar_sdk::Message>::KIND {
            return #call;
        }
    }
}

fn callback(role: &str, method: &ImplItemFn, types: &[Type]) -> syn::Result<TokenStream> {
    let (form, arguments) = match role {
        "on_stop" => ("(&mut self, ctx: &mut Context)", 1),
        "on_error" => ("(&mut self, ctx: &mut Context, cause: Failure)", 2),
        "on_network_error" => (
            "(&mut self, ctx: &mut Context, address: String, cause: String)",
            3,
        ),
        _ => ("(&mut self, ctx: &mut Context, address: String)", 2),
    };
    let is_async = method.sig.asyncness.is_some();
    let has_self = method.sig.receiver().is_some();
    expect(
        method,
        has_self && !is_async && types.len() == arguments,
        form,
    )?;
    let name = &method.sig.ident;
    let role = syn::Ident::new(role, name.span());
    let further: Vec<TokenStream> = match arguments {
        1 => Vec::new(),
        2 if role == "on_error" => vec![quote! { cause: ::instar_sdk::Failure }],
        2 => vec![quote! { address: ::std::string::String }],
        _ => vec![
            quote! { address: ::std::string::String },
            quote! { cause: ::std::string::String },
        ],
    };
    let names: Vec<TokenStream> = match (arguments, role == "on_error") {
        (1, _) => Vec::new(),
        (2, true) => vec![quote! { cause }],
        (2, false) => vec![quote! { address }],
        _ => vec![quote! { address }, quote! { cause }],
    };
    Ok(quote! {
        fn #role(
            &mut self,
            ctx: &mut ::instar_sdk::Context,
            #(#further),*
        ) -> ::std::result::Result<(), ::instar_sdk::Failure> {
            Self::#name(self, ctx, #(#names),*)
        }
    })
}

/// The types of the arguments, `self` left out.
fn argument_types(method: &ImplItemFn) -> Vec<Type> {
    let typed = method.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some((*typed.ty).clone()),
        FnArg::Receiver(_) => None,
    });
    typed.collect()
}

/// The type of argument `index`.
fn argument(method: &ImplItemFn, types: &[Type], index: usize) -> syn::Result<Type> {
    let missing = || Error::new_spanned(&method.sig, "an argument is missing");
    types.get(index).cloned().ok_or_else(missing)
}

fn expect_handler(method: &ImplItemFn, counts: &[usize], what: &str) -> syn::Result<()> {
    let has_self = method.sig.receiver().is_some();
    let count = argument_types(method).len();
    if method.sig.asyncness.is_some() {
        let form = format!("async fn(ctx: AsyncContext<Self>, {what}: Type)");
        return expect(method, !has_self && count == 2, &form);
    }
    let form = format!("fn(&mut self, ctx: &mut Context, {what}: Type)");
    expect(method, has_self && counts.contains(&count), &form)
}

fn expect(method: &ImplItemFn, fits: bool, form: &str) -> syn::Result<()> {
    match fits {
        true => Ok(()),
        false => Err(Error::new_spanned(
            &method.sig,
            format!("a handler of this role has the form `{form}`"),
        )),
    }
}
