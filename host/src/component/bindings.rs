//! Generated: the Rust side of `wit/`. Small and rarely changed, so that an edit elsewhere does not
//! generate it again. Its types stay inside [`crate::component`].

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin-with-everything",
    imports: {
        "instar:endpoint/channels.open": async | trappable,
        "instar:endpoint/channels.[method]channel.read": async | trappable,
        "instar:endpoint/persistence.read": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "instar:endpoint/channels.channel": crate::component::channels::OpenChannel },
});
