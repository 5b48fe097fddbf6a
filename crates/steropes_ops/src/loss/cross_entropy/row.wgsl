// Below every value, and far enough from the end that differences to values of ordinary size are finite.
const LOWEST: f32 = -3.0e38;

// The largest value of a row and the sum of exponentials relative to it, as an invocation has met them.
struct RowPart { largest: f32, exponentials: f32, all: f32 }

fn met(part: RowPart, values: Quads) -> RowPart {
    var largest = part.largest;
    for (var q = 0u; q < QUADS; q++) {
        largest = max(largest, largest_of(values[q]));
    }
    var exponentials = Quad();
    var all = Quad();
    for (var q = 0u; q < QUADS; q++) {
        exponentials += exp(values[q] - Quad(largest));
        all += values[q];
    }
    let before = part.exponentials * exp(part.largest - largest);
    return RowPart(largest, before + sum_of(exponentials), part.all + sum_of(all));
}
