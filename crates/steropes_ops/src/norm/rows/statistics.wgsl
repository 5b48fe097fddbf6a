// The mean that is taken off a row and the factor that scales it, for rows beyond registers, in one reading: every invocation
// merges the means and the squares around them pack by pack, so that values far from zero do not cancel.
//
// Header: as forward.wgsl.

fn row_statistics(first: u32, thread: u32, eps: f32) -> vec2<f32> {
    let lane = thread % ROW_THREADS;
    var count = 0.0;
    var mean = 0.0;
    var squares = 0.0;
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = lane + i * ROW_THREADS;
        if (FULL || c < WIDTH) {
            let values = row_at(first + c);
            var center = 0.0;
            if (CENTERED) {
                for (var q = 0u; q < QUADS; q++) {
                    center += sum_of(values[q]);
                }
                center /= f32(LANES);
            }
            var part = Quad();
            for (var q = 0u; q < QUADS; q++) {
                let centered = values[q] - Quad(center);
                part += centered * centered;
            }
            let all = count + f32(LANES);
            let apart = center - mean;
            mean += apart * (f32(LANES) / all);
            squares += sum_of(part) + apart * apart * (count * (f32(LANES) / all));
            count = all;
        }
    }
    var middle = 0.0;
    if (CENTERED) {
        middle = row_sum(mean * count, thread) / f32(COUNT);
    }
    let apart = mean - middle;
    let square = row_sum(squares + apart * apart * count, thread) / f32(COUNT);
    return vec2<f32>(middle, 1.0 / sqrt(square + eps));
}
