"""Where messages go beside stdout: files, webhooks, MQTT, e-mail."""
