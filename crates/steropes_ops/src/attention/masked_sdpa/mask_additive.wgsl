// Minus infinity is known by its bits, and never computed with.
fn logit(dot: f32, batch: u32, head: u32, query: u32, key: u32) -> Logit {
    let added = f32(mask[mask_at(batch, head, query, key)]);
    let open = bitcast<u32>(added) != params.nothing;
    return Logit(dot * params.scale + select(0.0, added, open), open);
}
