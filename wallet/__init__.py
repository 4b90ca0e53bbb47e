"""groat's wallet: keys, coin selection and signing; it talks to any Esplora server."""
