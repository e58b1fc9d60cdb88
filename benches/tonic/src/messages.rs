//! The messages of benches/proto/bench.proto, as prost-build would write them.

use std::collections::HashMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Msg {
    #[prost(fixed32, tag = "1")]
    pub n: u32,
    #[prost(string, tag = "2")]
    pub text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub street: String,
    #[prost(string, tag = "3")]
    pub city: String,
    #[prost(string, tag = "4")]
    pub postcode: String,
    #[prost(string, tag = "5")]
    pub country: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Item {
    #[prost(string, tag = "1")]
    pub sku: String,
    #[prost(string, tag = "2")]
    pub title: String,
    #[prost(uint32, tag = "3")]
    pub quantity: u32,
    #[prost(int64, tag = "4")]
    pub price_micros: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Order {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub reference: String,
    #[prost(string, tag = "3")]
    pub customer: String,
    #[prost(string, tag = "4")]
    pub email: String,
    #[prost(int32, tag = "5")] // an open enum: the number
    pub state: i32,
    #[prost(int64, tag = "6")]
    pub created_us: i64,
    #[prost(int64, tag = "7")]
    pub updated_us: i64,
    #[prost(message, optional, tag = "8")]
    pub ship_to: Option<Address>,
    #[prost(message, optional, tag = "9")]
    pub bill_to: Option<Address>,
    #[prost(message, repeated, tag = "10")]
    pub items: Vec<Item>,
    #[prost(string, tag = "11")]
    pub currency: String,
    #[prost(int64, tag = "12")]
    pub net_micros: i64,
    #[prost(int64, tag = "13")]
    pub tax_micros: i64,
    #[prost(double, tag = "14")]
    pub discount: f64,
    #[prost(bool, tag = "15")]
    pub gift: bool,
    #[prost(string, tag = "16")]
    pub note: String,
    #[prost(string, repeated, tag = "17")]
    pub tags: Vec<String>,
    #[prost(int32, repeated, tag = "18")]
    pub ratings: Vec<i32>,
    #[prost(map = "string, string", tag = "19")]
    pub labels: HashMap<String, String>,
    #[prost(bytes = "vec", tag = "20")]
    pub signature: Vec<u8>,
    #[prost(float, tag = "21")]
    pub weight_kg: f32,
    #[prost(sint32, tag = "22")]
    pub zone_offset_minutes: i32,
}
