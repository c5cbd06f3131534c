"""HTTP: the routes that an `openai` client uses, and Luthier's own. One file a noun in `routes/`."""
