"""Words of the embedded corpus: English for `amazon`, Indonesian for `lazada`, three categories each.

Real words in short clauses, so that the texts read roughly like reviews and the tokenizers have something
to do. Nothing here decides a label: `mini_latent` says how many clauses of which kind a review holds, and
opinions are drawn without regard to helpfulness (a review that praises is not more helpful than one that
complains).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """What all categories of a data set share. `{a}` is an aspect, `{w}` a word that goes with it, `{o}` an
    opinion, `{n}` a number."""

    brands: tuple[str, ...]
    audiences: tuple[str, ...]
    """Part of a product's name that tells nothing about it."""
    opinions: tuple[str, ...]
    mentions: tuple[str, ...]
    """Clauses that name an aspect."""
    off_topic: tuple[str, ...]
    """Clauses about the shop, the courier, the parcel: nothing about the product."""
    fillers: tuple[str, ...]
    """Clauses that say nothing."""
    features: tuple[str, ...]
    """Clauses of a product description."""
    openings: tuple[str, ...]
    """First words of a product description."""


@dataclass(frozen=True)
class Topic:
    """What one category is about."""

    kinds: tuple[str, ...]
    """Things sold."""
    aspects: Mapping[str, tuple[str, str]]
    """Aspect -> two words that go with it."""
    details: tuple[str, ...]
    """Clauses with a measurement."""


ENGLISH = Language(
    brands=("Acorn", "Bluebird", "Corvus", "Delmar", "Everest", "Fenwick", "Granite", "Harbor"),
    audiences=("for men", "for women", "for kids", "classic edition", "new edition", "two pack"),
    opinions=(
        "great", "good", "nice", "excellent", "perfect", "decent", "average", "poor", "bad", "cheap",
        "awful", "weak", "solid", "lovely", "disappointing", "impressive", "fine", "flimsy", "superb", "okay",
    ),
    mentions=(
        "the {a} is {o}",
        "{o} {a}",
        "the {a} feels {o}",
        "{a} and {w} are {o}",
        "its {a} looks {o}",
        "{o} {a} with {o} {w}",
        "I find the {a} {o}",
    ),
    off_topic=(
        "shipping was fast",
        "the seller answered late",
        "parcel arrived yesterday",
        "the box was damaged",
        "friendly seller",
        "delivery took forever",
        "courier left it outside",
        "quick refund",
        "the order came early",
        "wrong invoice",
    ),
    fillers=(
        "bought it for my brother",
        "my wife wanted one",
        "just as expected",
        "what can I say",
        "would buy again",
        "it was a gift",
        "no more comments",
        "thanks a lot",
        "really happy today",
        "not for everyone",
        "I told my friends",
        "so far so good",
    ),
    features=("{a} with {w}", "{o} {a}", "improved {a}", "{a} and {w}", "a new {a}"),
    openings=("Made with", "Designed around", "Comes with", "Known for", "Built for"),
)  # fmt: skip

INDONESIAN = Language(
    brands=("Anggrek", "Borneo", "Cendana", "Dirgantara", "Elang", "Fajar", "Garuda", "Harimau"),
    audiences=("pria", "wanita", "anak", "dewasa", "edisi baru", "isi dua"),
    opinions=(
        "bagus", "baik", "mantap", "keren", "sempurna", "lumayan", "biasa", "jelek", "buruk", "murahan",
        "kurang", "lemah", "kokoh", "cantik", "mengecewakan", "memuaskan", "oke", "rapuh",
        "luar biasa", "rapi",
    ),
    mentions=(
        "{a} nya {o}",
        "{a} {o}",
        "{a} terasa {o}",
        "{a} dan {w} {o}",
        "menurut saya {a} {o}",
        "{a} {o} sekali",
        "untuk {a} nya {o}",
    ),
    off_topic=(
        "pengiriman cepat",
        "penjual lambat membalas",
        "paket sampai kemarin",
        "kardus penyok",
        "penjual ramah",
        "kurir baik hati",
        "barang dititip tetangga",
        "respon toko lama",
        "pesanan datang awal",
        "ongkir mahal",
    ),
    fillers=(
        "beli untuk adik saya",
        "titipan istri",
        "sesuai harapan",
        "tidak ada komentar",
        "pasti beli lagi",
        "buat kado",
        "terima kasih banyak",
        "semoga awet",
        "senang hari ini",
        "coba saja sendiri",
        "teman saya suka",
        "ya begitulah",
    ),
    features=("{a} dengan {w}", "{a} {o}", "{a} terbaru", "{a} dan {w}", "ekstra {a}"),
    openings=("Dibuat dengan", "Hadir dengan", "Unggul dalam", "Andalan kami", "Dirancang untuk"),
)  # fmt: skip

WORDS: Mapping[str, tuple[Language, Mapping[str, Topic]]] = {
    "amazon": (
        ENGLISH,
        {
            "clothing": Topic(
                kinds=("shirt", "jacket", "dress", "boots", "sneakers", "coat", "sweater", "bag"),
                aspects={
                    "fabric": ("cotton", "weave"),
                    "zipper": ("teeth", "pull"),
                    "sole": ("rubber", "grip"),
                    "collar": ("neck", "button"),
                    "lining": ("fleece", "warmth"),
                    "pocket": ("flap", "phone"),
                    "stitching": ("seam", "thread"),
                    "strap": ("buckle", "shoulder"),
                    "sleeve": ("cuff", "arm"),
                    "waistband": ("elastic", "belt"),
                },
                details=(
                    "washed {n} times",
                    "{n} inches long",
                    "worn for {n} weeks",
                    "chest measures {n} inches",
                    "shrank {n} percent",
                    "I weigh {n} kilos",
                ),
            ),
            "electronics": Topic(
                kinds=("headphones", "radio", "phone", "tablet", "recorder", "laptop", "watch", "console"),
                aspects={
                    "battery": ("charge", "power"),
                    "screen": ("display", "glass"),
                    "speaker": ("bass", "volume"),
                    "camera": ("lens", "photo"),
                    "bluetooth": ("pairing", "signal"),
                    "keyboard": ("keys", "typing"),
                    "cable": ("plug", "usb"),
                    "microphone": ("voice", "call"),
                    "hinge": ("lid", "metal"),
                    "firmware": ("update", "menu"),
                },
                details=(
                    "lasts {n} hours",
                    "after {n} charges",
                    "measured {n} volts",
                    "weighs {n} grams",
                    "range of {n} meters",
                    "takes {n} minutes",
                ),
            ),
            "home": Topic(
                kinds=("kettle", "pan", "blender", "lamp", "vacuum", "mixer", "pillow", "shelf"),
                aspects={
                    "handle": ("rubber", "hand"),
                    "lid": ("seal", "steam"),
                    "blade": ("steel", "edge"),
                    "coating": ("nonstick", "surface"),
                    "motor": ("noise", "engine"),
                    "switch": ("button", "light"),
                    "hose": ("pipe", "suction"),
                    "filter": ("dust", "mesh"),
                    "frame": ("screws", "wood"),
                    "cushion": ("foam", "cover"),
                },
                details=(
                    "boils in {n} minutes",
                    "holds {n} liters",
                    "used it {n} times",
                    "{n} inches wide",
                    "draws {n} watts",
                    "after {n} months",
                ),
            ),
        },
    ),
    "lazada": (
        INDONESIAN,
        {
            "clothing": Topic(
                kinds=("kemeja", "jaket", "gaun", "sepatu", "sandal", "celana", "tas", "kaos"),
                aspects={
                    "kain": ("katun", "serat"),
                    "resleting": ("gigi", "logam"),
                    "sol": ("karet", "tapak"),
                    "kerah": ("leher", "kancing"),
                    "furing": ("lapisan", "hangat"),
                    "saku": ("kantong", "dompet"),
                    "jahitan": ("benang", "obras"),
                    "tali": ("gesper", "bahu"),
                    "lengan": ("manset", "siku"),
                    "pinggang": ("elastis", "sabuk"),
                },
                details=(
                    "dicuci {n} kali",
                    "panjang {n} cm",
                    "dipakai {n} minggu",
                    "lebar dada {n} cm",
                    "susut {n} persen",
                    "berat badan {n} kilo",
                ),
            ),
            "electronics": Topic(
                kinds=("headset", "pengeras", "ponsel", "tablet", "kamera", "laptop", "jam", "proyektor"),
                aspects={
                    "baterai": ("daya", "cas"),
                    "layar": ("kaca", "resolusi"),
                    "suara": ("bas", "volume"),
                    "lensa": ("foto", "fokus"),
                    "sinyal": ("bluetooth", "koneksi"),
                    "tombol": ("ketik", "huruf"),
                    "kabel": ("colokan", "usb"),
                    "mikrofon": ("rekaman", "telepon"),
                    "engsel": ("tutup", "besi"),
                    "sistem": ("aplikasi", "memori"),
                },
                details=(
                    "tahan {n} jam",
                    "setelah {n} kali isi",
                    "tegangan {n} volt",
                    "bobot {n} gram",
                    "jangkauan {n} meter",
                    "butuh {n} menit",
                ),
            ),
            "home": Topic(
                kinds=("ketel", "wajan", "blender", "lampu", "penyedot", "pengaduk", "bantal", "rak"),
                aspects={
                    "gagang": ("karet", "genggam"),
                    "penutup": ("segel", "uap"),
                    "pisau": ("baja", "tajam"),
                    "lapisan": ("teflon", "permukaan"),
                    "motor": ("bunyi", "mesin"),
                    "sakelar": ("tuas", "indikator"),
                    "selang": ("pipa", "hisap"),
                    "saringan": ("debu", "jaring"),
                    "rangka": ("baut", "kayu"),
                    "busa": ("sarung", "empuk"),
                },
                details=(
                    "mendidih {n} menit",
                    "muat {n} liter",
                    "sudah {n} kali pakai",
                    "lebar {n} cm",
                    "listrik {n} watt",
                    "setelah {n} bulan",
                ),
            ),
        },
    ),
}

NUMBERS = (2, 3, 5, 8, 10, 12, 15, 20, 24, 30, 40, 50)
"""Few, so that each is frequent enough to stay in the vocabulary."""

N_ASPECTS = 10
"""Aspects of every category."""
