// Four bytes in a word.
fn logit(dot: f32, batch: u32, head: u32, query: u32, key: u32) -> Logit {
    let i = mask_at(batch, head, query, key);
    return Logit(dot * params.scale, ((mask[i / 4u] >> (i % 4u * 8u)) & 0xffu) != 0u);
}
