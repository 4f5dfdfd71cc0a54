"""A provider that sends nothing: SendGrid, Twilio and Telegram as they document themselves, in a process of its own.

    mails.py      POST /v3/mail/send                      texts.py   POST /2010-04-01/Accounts/SID/Messages.json
                                                          chats.py   POST /botTOKEN/sendMessage
    behaviour.py  how it behaves, read at each request     ledger.py  what it took, append-only
    people.py     what the recipients do                   hooks.py   the signed webhooks that tell of it
    server.py     the process                              child.py   the process as another one's child

Tests that send hold its ledger, not our database, against what was promised; `karibu up --provider fake` shows a
newcomer what becomes of messages. It speaks with this machine only.
"""
