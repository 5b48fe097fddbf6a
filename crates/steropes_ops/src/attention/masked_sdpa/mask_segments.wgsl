// The keys of each query, then the queries of each key: from x to before y, neither of which falls from a token to the next.
fn logit(dot: f32, batch: u32, head: u32, query: u32, key: u32) -> Logit {
    let band = mask[min(query, params.queries - 1u)];
    return Logit(dot * params.scale, key >= band.x && key < band.y);
}
fn keys_of(first: u32, end: u32) -> vec2<u32> {
    return vec2<u32>(mask[first].x, mask[min(end, params.queries) - 1u].y);
}
fn queries_of(first: u32, end: u32) -> vec2<u32> {
    let keys = params.queries;
    return vec2<u32>(mask[keys + first].x, mask[keys + min(end, params.keys) - 1u].y);
}
