"""The models: BERT_DOT, BERT_CAT, ColBERT and T5, and the back ends that compute them."""
