fn mask_at(batch: u32, head: u32, query: u32, key: u32) -> u32 {
    let row = min(query, params.queries - 1u) * params.mask_query;
    return params.first_mask + batch * params.mask_batch + head * params.mask_head + row + min(key, params.keys - 1u);
}
