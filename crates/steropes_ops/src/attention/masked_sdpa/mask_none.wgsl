fn logit(dot: f32, batch: u32, head: u32, query: u32, key: u32) -> Logit {
    return Logit(dot * params.scale, true);
}
