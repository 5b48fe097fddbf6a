use super::{LookupTable, UNKNOWN};
use steropes_tensor::Tensor;
use steropes_testkit::{Bench, bench};

/// What a round does beside its search: 3072 seeds, 512 x 384 pixels, all answers known.
pub(crate) fn benches() -> Vec<Bench> {
    let (tracks, pixels) = (3072, 512 * 384);
    vec![bench("lookup_table/round", 0.0, (4 * 9 * tracks) as f64, move |device| {
        let list = |data: Vec<u32>| Tensor::new(device, &[tracks], data).expect("a list fits its shape");
        let from = list((0..tracks as u32).map(|t| t * 64).collect());
        let (active, to) = (list(vec![1; tracks]), list(vec![UNKNOWN; tracks]));
        let mut table = LookupTable::new(device, pixels).expect("a table of a photo");
        Box::new(move || {
            let asked = table.ask(&from, &active).expect("valid arguments");
            table.answer(&asked, &from).expect("valid arguments");
            std::hint::black_box(table.follow(&from, &to, &active, true).expect("valid arguments"));
        })
    })]
}
