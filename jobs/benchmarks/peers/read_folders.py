"""The logits of models in the folders of a folder, for the tokens in a JSON list."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

logits = {}
for folder in Path(sys.argv[1]).iterdir():
    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        AutoTokenizer.from_pretrained(folder)
        with torch.no_grad():
            logits[folder.name] = model(torch.tensor([json.loads(sys.argv[2])])).logits.item()
    except Exception as error:
        print(folder.name, error, file=sys.stderr)
print(json.dumps(logits))
