struct Params { rows: u32, items: u32, least: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> row_sums: array<f32>;
@group(0) @binding(1) var<storage, read> column_sums: array<f32>;
@group(0) @binding(2) var<storage, read> own_similarity: array<f32>;
@group(0) @binding(3) var<storage, read> valid: array<u32>;

const PROPER: u32 = 0u;
const DUAL: u32 = 1u;
const ALL: u32 = 2u;

var<workgroup> largest_of_all: array<f32, GROUP_THREADS>;

// The logarithm of the sum over the whole item, which all invocations must ask for.
fn log_sum_of_all(first: u32, thread: u32) -> f32 {
    var own = -1e30;
    for (var i = thread; i < params.rows; i += GROUP_THREADS) {
        own = max(own, row_sums[first + i]);
    }
    largest_of_all[thread] = own;
    for (var half = GROUP_THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            largest_of_all[thread] = max(largest_of_all[thread], largest_of_all[thread + half]);
        }
    }
    workgroupBarrier();
    let largest = largest_of_all[0];
    var sum = 0.0;
    for (var i = thread; i < params.rows; i += GROUP_THREADS) {
        sum += exp(row_sums[first + i] - largest);
    }
    return largest + log(group_sum(vec2<f32>(sum, 0.0), thread).x);
}
