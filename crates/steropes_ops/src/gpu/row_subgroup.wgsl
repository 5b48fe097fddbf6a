// A row is a subgroup.
fn row_sum(x: f32, thread: u32) -> f32 {
    return subgroupAdd(x);
}
fn row_max(x: f32, thread: u32) -> f32 {
    return subgroupMax(x);
}
