// A workgroup for each item: what rows, columns and correspondences are weighted by in the gradient. If each is compared with the sum of all,
// all rows have the sum of the weights.
//
// Header: MODE; valid_at; log_sum_of_all; GROUP_THREADS, group_sum.

@group(0) @binding(4) var<storage, read> grad: array<f32>;
@group(0) @binding(5) var<storage, read_write> rows: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> columns: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> own_weight: array<f32>;

// Whether the row and the column of a correspondence have a gradient.
fn counting(i: u32, all: f32) -> vec2<bool> {
    let row = row_sums[i] - own_similarity[i];
    let column = column_sums[i] - own_similarity[i];
    if (MODE == PROPER) {
        return vec2<bool>(row < params.least, column < params.least);
    } else if (MODE == DUAL) {
        return vec2<bool>(row + column < params.least);
    }
    return vec2<bool>(all - own_similarity[i] < params.least, false);
}
fn scales(i: u32, all: f32) -> vec2<f32> {
    return select(vec2<f32>(), vec2<f32>(grad[i]), counting(i, all) & vec2<bool>(valid_at(i)));
}

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = group.x + group.y * 32768u;
    let first = min(item, params.items - 1u) * params.rows;
    let all = log_sum_of_all(first, thread);
    var sum = 0.0;
    for (var i = first + thread; i < first + params.rows; i += GROUP_THREADS) {
        sum += scales(i, all).x;
    }
    let total = group_sum(vec2<f32>(sum, 0.0), thread).x;
    if (item >= params.items) {
        return;
    }
    for (var i = first + thread; i < first + params.rows; i += GROUP_THREADS) {
        let scale = scales(i, all);
        rows[i] = select(vec2<f32>(scale.x, row_sums[i]), vec2<f32>(total, all), MODE == ALL);
        columns[i] = vec2<f32>(scale.y, column_sums[i]);
        own_weight[i] = scale.x + scale.y;
    }
}
