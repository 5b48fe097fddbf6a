// One row for each ROW_THREADS invocations, read once: every invocation keeps the largest value so far and the sum of
// exponentials relative to it, which are put together at the end.
//
// Header: Pack, Quad, Quads, QUADS, LANES, unpacked, sum_of, largest_of, lane_of; WIDTH (packs in a row), COUNT (classes),
// PER_THREAD, FULL; ROW_THREADS, ROWS, row_sum, row_max; targets_at, targets_is_below; RowPart, met, LOWEST; Loss, stored.

struct Params {
    rows: u32, shift: u32, target_shift: u32, ignore_low: u32, ignore_high: u32, smoothing: f32, loss_shift: u32, nan: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> losses: array<Loss>;

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    // Rows behind the end compute along with the last row, because all invocations meet in row_max and row_sum.
    let own_row = min(row, params.rows - 1u);
    let first = params.shift + own_row * WIDTH;
    var part = RowPart(LOWEST, 0.0, 0.0);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (FULL || c < WIDTH) {
            part = met(part, unpacked(x[first + c]));
        }
    }
    let largest = row_max(part.largest, thread);
    let exponentials = row_sum(part.exponentials * exp(part.largest - largest), thread);
    let all = row_sum(part.all, thread);
    if (row >= params.rows || lane != 0u) {
        return;
    }
    let target_class = targets_at(params.target_shift / TARGET_WORDS + own_row);
    if (target_class.x == params.ignore_low && target_class.y == params.ignore_high) {
        losses[params.loss_shift + row] = stored(0.0, 0.0);
        return;
    }
    if (!targets_is_below(target_class, COUNT)) {
        losses[params.loss_shift + row] = stored(bitcast<f32>(params.nan), 1.0);
        return;
    }
    let values = unpacked(x[first + target_class.x / LANES]);
    let place = target_class.x % LANES;
    var chosen = values[0];
    for (var q = 1u; q < QUADS; q++) {
        if (place / 4u == q) {
            chosen = values[q];
        }
    }
    let log_sum = log(exponentials);
    var loss = log_sum + (largest - lane_of(chosen, place % 4u));
    if (params.smoothing > 0.0) {
        let even = log_sum + (largest - all / f32(COUNT));
        loss = (1.0 - params.smoothing) * loss + params.smoothing * even;
    }
    losses[params.loss_shift + row] = stored(loss, 1.0);
}
