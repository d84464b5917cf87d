//! `#[derive(Schema)]`: writes down the shape that serde and postcard give a type.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Field, Fields, FieldsNamed, parse_quote};

use crate::attributes::check_serde;

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    check_serde(&input.attrs)?;
    let name = &input.ident;
    let node = match &input.data {
        Data::Struct(data) => structure(&name.to_string(), &data.fields)?,
        Data::Enum(data) => enumeration(&name.to_string(), data)?,
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union has no shape; use an enum",
            ));
        }
    };
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::instar_sdk::Schema));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics ::instar_sdk::Schema for #name #type_generics #where_clause {
            fn node(
                nodes: &mut ::instar_sdk::schema::Nodes,
            ) -> ::instar_sdk::description::TypeNode {
                #node
            }
        }
    })
}

/// The node of a struct, as an expression.
fn structure(name: &str, fields: &Fields) -> syn::Result<TokenStream> {
    Ok(match fields {
        Fields::Unit => quote! { { let _ = nodes; ::instar_sdk::description::TypeNode::Unit } },
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            let inner = types(fields.unnamed.iter())?;
            // A newtype is its inner type, on the wire and here.
            quote! { #(<#inner as ::instar_sdk::Schema>::node(nodes))* }
        }
        Fields::Unnamed(fields) => {
            let elements = types(fields.unnamed.iter())?;
            quote! {
                ::instar_sdk::description::TypeNode::TupleOf(
                    ::std::vec![#(nodes.add::<#elements>()),*]
                )
            }
        }
        Fields::Named(fields) => {
            let fields = named(fields)?;
            quote! {
                ::instar_sdk::description::TypeNode::Structure {
                    name: ::std::string::String::from(#name),
                    fields: #fields,
                }
            }
        }
    })
}

fn enumeration(name: &str, data: &DataEnum) -> syn::Result<TokenStream> {
    let mut cases = Vec::new();
    for variant in &data.variants {
        check_serde(&variant.attrs)?;
        let case = variant.ident.to_string();
        cases.push(match &variant.fields {
            Fields::Unit => quote! { nodes.unit_case(#case) },
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let inner = types(fields.unnamed.iter())?;
                quote! { #(nodes.value_case::<#inner>(#case))* }
            }
            Fields::Unnamed(fields) => {
                let elements = types(fields.unnamed.iter())?;
                quote! { {
                    let elements = ::std::vec![#(nodes.add::<#elements>()),*];
                    nodes.tuple_case(#case, elements)
                } }
            }
            Fields::Named(fields) => {
                let fields = named(fields)?;
                quote! { {
                    let fields = #fields;
                    nodes.structure_case(#case, fields)
                } }
            }
        });
    }
    Ok(quote! {
        ::instar_sdk::description::TypeNode::Enumeration {
            name: ::std::string::String::from(#name),
            cases: ::std::vec![#(#cases),*],
        }
    })
}

fn types<'a>(fields: impl Iterator<Item = &'a Field>) -> syn::Result<Vec<&'a syn::Type>> {
    fields
        .map(|field| {
            check_serde(&field.attrs)?;
            Ok(&field.ty)
        })
        .collect()
}

fn named(fields: &FieldsNamed) -> syn::Result<TokenStream> {
    let types = types(fields.named.iter())?;
    let names = fields.named.iter().filter_map(|field| field.ident.as_ref());
    // `r#type` is a way to write it; its name is `type`, in serde too.
    let names = names.map(|name| name.to_string().trim_start_matches("r#").to_owned());
    Ok(quote! { ::std::vec![#(nodes.field::<#types>(#names)),*] })
}
