fn logit(dot: f32, batch: u32, head: u32, query: u32, key: u32) -> Logit {
    return Logit(dot * params.scale, key <= query);
}
// As those of no mask. The queries begin with a step.
fn keys_of(first: u32, end: u32) -> vec2<u32> {
    return vec2<u32>(0u, min(params.keys, end));
}
fn queries_of(first: u32, end: u32) -> vec2<u32> {
    return vec2<u32>(first / PASSING * PASSING, params.queries);
}
